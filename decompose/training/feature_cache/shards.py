"""One file of features: safetensors, named by its own digest, memory-mapped for reading.

Shapes: n entries, K bytes of a key.
"""

from __future__ import annotations

import json
import mmap
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

from lorkit.decompose.artifacts import digest_bytes, digest_file, write_bytes
from lorkit.decompose.errors import ArtifactError, StorageError
from lorkit.decompose.training.feature_cache.namespaces import FeatureNamespace
from lorkit.decompose.training.feature_cache.tensors import DTYPES

SUFFIX = ".safetensors"
_KEYS = "keys"
_TYPES = {"F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16, "U8": torch.uint8}
assert set(DTYPES.values()) < set(_TYPES.values())
_DIGITS = 32


class Rows:
    """Entries in memory, or in a mapped file.

    Args:
        keys: Of the n entries.
        tensors: (n, ...) by name, as stored on disk.
    """

    def __init__(self, keys: Sequence[bytes], tensors: Mapping[str, Tensor]) -> None:
        self.keys, self.tensors = list(keys), dict(tensors)

    @property
    def bytes(self) -> int:
        """Bytes of all entries."""
        return sum(value.nbytes for value in self.tensors.values())


def write_shard(directory: Path, namespace: FeatureNamespace, blocks: Sequence[Rows]) -> Path:
    """Write chunks into one file, atomically; raise StorageError if the disk is full or not writable."""
    from safetensors.torch import save

    keys = torch.tensor([list(key) for block in blocks for key in block.keys], dtype=torch.uint8)
    tensors = {name: torch.cat([block.tensors[name] for block in blocks]) for name in namespace.layout}
    data = save({_KEYS: keys, **tensors}, metadata={"space": namespace.name})
    path = directory / f"{digest_bytes(data)[:_DIGITS]}{SUFFIX}"
    try:
        write_bytes(path, data)
    except OSError as error:
        raise StorageError(
            f"the teacher cache cannot write {len(data) / 2**20:.1f} MiB into {directory} ({error.strerror or error})",
            required="free disk space",
            fix="free some, choose another directory with cache.directory, or set cache.enabled to false",
        ) from None
    return path


def open_shard(path: Path, namespace: FeatureNamespace) -> Rows:
    """Map a shard into memory after checking its digest.

    Raises:
        ArtifactError: It is damaged, or not of this namespace.
    """
    if digest_file(path)[:_DIGITS] != path.name.removesuffix(SUFFIX):
        raise _unfit(path, "is damaged")
    with path.open("rb") as stream:
        data = mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_COPY)  # torch has no read-only tensors
    end = 8 + int.from_bytes(data[:8], "little")
    header = json.loads(data[8:end])
    metadata = header.pop("__metadata__", {})
    found = {name: (row["dtype"], row["shape"]) for name, row in header.items()}
    keys = found.get(_KEYS, ("", [0]))[1]
    types = {dtype: name for name, dtype in _TYPES.items()}
    expected = {name: (types[part.stored], [keys[0], *part.stored_shape]) for name, part in namespace.layout.items()}
    if metadata.get("space") != namespace.name or found != {_KEYS: ("U8", keys), **expected}:
        raise _unfit(path, "has other features")
    tensors = {}
    for name, row in header.items():
        dtype, shape = _TYPES[row["dtype"]], torch.Size(row["shape"])
        flat = torch.frombuffer(data, dtype=dtype, count=shape.numel(), offset=end + row["data_offsets"][0])
        tensors[name] = flat.view(shape)
    rows = tensors.pop(_KEYS)
    width, raw = rows.shape[1], rows.numpy().tobytes()
    return Rows([raw[start : start + width] for start in range(0, len(raw), width)], tensors)


def _unfit(path: Path, what: str) -> ArtifactError:
    return ArtifactError(f"{path} {what}", required="a shard of this teacher's features", fix="it is computed again")
