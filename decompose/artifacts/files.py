"""Files of an artifact: digests, atomic writes, JSON with a kind and a version, tensors as safetensors.

Nothing is unpickled or evaluated: files are not trusted.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lorkit.decompose.artifacts.drafts import open_draft
from lorkit.decompose.errors import ArtifactError, refuse_special
from lorkit.decompose.machine import available_bytes

if TYPE_CHECKING:
    from torch import Tensor

SCHEMA_VERSION = 1
SEAL = "seal"
"""Key of the digest of the rest of a document that no manifest lists."""

_NO_FILE = (errno.EISDIR, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG)
_SETTLED_NS = 1_000_000_000
_SMALL_BYTES = 2**20
"""Files up to this size are read without asking how much memory is free."""
_DIGESTS: dict[tuple[int, ...], str] = {}


def digest_bytes(data: bytes) -> str:
    """Return the SHA-256 of bytes, as hexadecimal text."""
    return hashlib.sha256(data).hexdigest()


def digest_file(path: Path) -> str:
    """Return the SHA-256 of a file's content, as hexadecimal text.

    A process reads an unchanged file (same inode, size, mtime and ctime) once, since reports check the weights of a
    chain from each of its links. A file changed within the last second is always read: two writes may have the same
    timestamp.
    """
    with path.open("rb") as stream:
        status = os.fstat(stream.fileno())
        key = (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
        if key not in _DIGESTS:
            digest = hashlib.file_digest(stream, "sha256").hexdigest()
            if time.time_ns() - status.st_ctime_ns < _SETTLED_NS:
                return digest
            _DIGESTS[key] = digest
        return _DIGESTS[key]


def digest_json(value: Any) -> str:
    """Return the SHA-256 of plain data, independent of the order of keys."""
    return digest_bytes(json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False).encode())


def digest_tensors(tensors: Mapping[str, Tensor], start: str = "") -> str:
    """Return the SHA-256 of a text, then of tensors by name with their dtypes and shapes."""
    import torch

    found = hashlib.sha256(start.encode())
    for name, value in sorted(tensors.items()):
        plain = value.detach().cpu().contiguous()
        found.update(f"{name} {plain.dtype} {tuple(plain.shape)}\n".encode())
        found.update(plain.reshape(-1).view(torch.uint8).numpy().data)
    return found.hexdigest()


def write_bytes(path: Path, data: bytes) -> None:
    """Write a file atomically; an OSError names it."""
    with open_draft(path) as stream:
        stream.write(data)


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text atomically."""
    write_bytes(path, text.encode("utf-8"))


def write_json(path: Path, value: Any) -> None:
    """Write plain data as JSON atomically; NaN and infinity are refused (an undefined number is null)."""
    write_text(path, json.dumps(value, indent=1, allow_nan=False, ensure_ascii=False) + "\n")


def read_json(path: Path, *, kind: str | None = None) -> dict[str, Any]:
    """Read a JSON object; raise ArtifactError if it is missing, damaged, or not of `kind` or of this schema version."""
    document = _parse_json(path, _read_bytes(path, "a complete artifact"))
    if kind is not None:
        _check_kind(path, document, kind)
    return document


def read_document(path: Path, *, kind: str | None = None) -> tuple[dict[str, Any], str]:
    """Read a JSON object as `read_json` does, and return it with the SHA-256 of the same bytes."""
    data = _read_bytes(path, "a complete artifact")
    document = _parse_json(path, data)
    _check_kind(path, document, kind or str(document.get("kind", "artifact")))
    return document, digest_bytes(data)


def _read_bytes(path: Path, required: str) -> bytes:
    refuse_special(path, kind=ArtifactError)
    try:
        with path.open("rb") as stream:
            size = os.fstat(stream.fileno()).st_size
            # a file with holes states any size
            if size > _SMALL_BYTES and size > (free := available_bytes()):
                raise ArtifactError(
                    f"{path} has {size / 2**30:.3g} GiB",
                    required=f"at most the {free / 2**30:.3g} GiB of memory that are free",
                    fix="rebuild the artifact, or free memory",
                )
            return stream.read()
    except FileNotFoundError:
        raise ArtifactError(f"{path} is missing", required=required, fix="rebuild the artifact") from None
    except OSError as error:
        if error.errno not in _NO_FILE:
            raise
        raise ArtifactError(f"{path} cannot be read ({error.strerror})", required=required, fix="name a file") from None


def _parse_json(path: Path, data: bytes) -> dict[str, Any]:
    try:
        document = json.loads(data.decode("utf-8"))
    except (ValueError, RecursionError) as error:  # also of numbers with very many digits
        raise ArtifactError(
            f"{path} is not JSON ({type(error).__name__})", required="an intact artifact", fix="rebuild it"
        ) from None
    if not isinstance(document, dict):
        raise ArtifactError(f"{path} is not a JSON object", required="an intact artifact", fix="rebuild it")
    return document


def _check_kind(path: Path, document: Mapping[str, Any], kind: str) -> None:
    if document.get("kind") != kind:
        raise ArtifactError(
            f"{path} is of kind {document.get('kind')!r}", required=f"kind '{kind}'", fix="name the right directory"
        )
    if document.get("schema_version") != SCHEMA_VERSION:
        raise ArtifactError(
            f"{path} has schema version {document.get('schema_version')!r}",
            required=f"version {SCHEMA_VERSION}",
            fix="use the lorkit version that wrote it, or build it again",
        )


def save_tensors(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None) -> None:
    """Write tensors as safetensors, atomically; equal tensors and metadata give equal bytes."""
    from safetensors.torch import save

    # contiguous copies: safetensors refuses strided views, such as channels_last weights
    plain = {name: tensor.detach().cpu().contiguous() for name, tensor in sorted(tensors.items())}
    write_bytes(path, _with_metadata(save(plain, metadata={}), metadata or {}))


def _with_metadata(data: bytes, metadata: Mapping[str, str]) -> bytes:
    """Add metadata to a safetensors file without any, in sorted order; the order of its own writer is random."""
    end = 8 + int.from_bytes(data[:8], "little")
    empty = b'{"__metadata__":{}'
    if not metadata:
        return data
    assert data.startswith(empty, 8), "safetensors writes metadata first"
    text = json.dumps(dict(sorted(metadata.items())), separators=(",", ":")).encode()
    header = empty[:-2] + text + data[8 + len(empty) : end].rstrip(b" ")
    header += b" " * (-len(header) % 8)  # tensors begin at a multiple of eight bytes
    return len(header).to_bytes(8, "little") + header + data[end:]


def load_tensors(path: Path) -> dict[str, Tensor]:
    """Read a safetensors file to the CPU; raise ArtifactError if it is missing, truncated, or a pickle."""
    from safetensors.torch import load

    data = _read_bytes(path, "safetensors weights")
    try:
        return load(data)
    except Exception as error:  # boundary: bytes of others lead to any exception
        problem = str(error)[:80]
    # only after an error: the header length of an intact file may look like a pickle
    if data[:1] == b"\x80" or data[:2] == b"PK":
        raise ArtifactError(
            f"{path} is a pickle, which can run code when it is read",
            required="a safetensors file",
            fix="convert it on a machine that trusts it",
        )
    raise ArtifactError(f"{path} cannot be read ({problem})", required="intact safetensors", fix="rebuild the artifact")
