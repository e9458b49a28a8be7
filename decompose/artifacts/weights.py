"""Files of weights, judged by their size and their first bytes before they are read, or digested, as a whole.

A file of tens of gigabytes would otherwise take minutes until it is refused; one with holes takes no space on the disk.
"""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

from lorkit.decompose.artifacts.files import digest_file
from lorkit.decompose.errors import ArtifactError, refuse_special, refusing_damage
from lorkit.decompose.machine import available_bytes

SAFETENSORS = ".safetensors"
_SMALL_BYTES = 2**26  # fits everywhere; to ask for the free memory loads a library where the system does not say it
_MOST_HEADER = 100 * 2**20  # as safetensors itself allows
_PICKLE = b"\x80"
_ZIP = b"PK"


def digest_weights(path: Path) -> str:
    """Return the SHA-256 of a user's file of weights, which is judged first; raises as `check_weights`."""
    check_weights(path)
    return digest_file(path)


def check_weights(path: Path) -> None:
    """Refuse a file that cannot hold weights that this process can load; a missing one is left to its reader.

    Args:
        path: `.safetensors`, or a torch file.

    Raises:
        ArtifactError: It is larger than the free memory, no file, begins as neither, or the header of a
            safetensors file does not fit its size.
    """
    refuse_special(path, kind=ArtifactError)
    if not path.is_file():
        return
    check_size(path)
    is_safe = path.suffix == SAFETENSORS
    with refusing_damage(
        path, required="intact safetensors" if is_safe else "a file as torch.save writes it", fix="save it again",
        kind=ArtifactError,
    ):  # fmt: skip
        if is_safe:
            _check_header(path)
        else:
            _check_torch(path)


def is_cut(path: Path) -> bool:
    """Tell whether a safetensors file has another size than its header states; false for other files."""
    try:
        with refusing_damage(path, required="intact safetensors", kind=ArtifactError):
            if path.suffix == SAFETENSORS:
                _check_header(path)
    except ArtifactError:
        return True
    return False


def check_size(path: Path) -> None:
    """Refuse a file that is larger than the memory that is free, into which it would be read."""
    size = path.stat().st_size
    if size > _SMALL_BYTES and size > (free := available_bytes()):
        raise ArtifactError(
            f"{path} has {size / 2**30:.3g} GiB",
            required=f"at most the {free / 2**30:.3g} GiB of memory that are free",
            fix="check whether it is the right file, or free memory",
        )


def _check_header(path: Path) -> None:
    size = path.stat().st_size
    with path.open("rb") as stream:
        first = stream.read(8)
        length = int.from_bytes(first, "little")
        if first[:1] == _PICKLE or first[:2] == _ZIP:
            return  # the reader says that it is a pickle
        if not 2 <= length <= min(_MOST_HEADER, size - 8):
            raise ArtifactError(
                f"{path} cannot be read (it states a header of {length} bytes)",
                required="intact safetensors",
                fix="rebuild or download it again",
            )
        header: dict[str, Any] = json.loads(stream.read(length))
    ends = [int(about["data_offsets"][1]) for name, about in header.items() if name != "__metadata__"]
    stated = 8 + length + max(ends, default=0)
    if stated != size:
        raise ArtifactError(
            f"{path} cannot be read (it has {size} bytes, its header states {stated})",
            required="intact safetensors",
            fix="rebuild or download it again",
        )


def _check_torch(path: Path) -> None:
    with path.open("rb") as stream:
        first = stream.read(2)
    if not zipfile.is_zipfile(path):
        if first[:1] != _PICKLE:
            raise ArtifactError(
                f"{path} cannot be read as tensors alone (it begins as no torch file)",
                required="a safetensors or torch file that holds tensors and no code",
                fix="save `model.state_dict()` with torch.save or safetensors on a machine that trusts the file",
            )
        return
    with zipfile.ZipFile(path) as archive:
        entries = archive.infolist()
    packed = next((one.filename for one in entries if one.compress_type != zipfile.ZIP_STORED), None)
    if packed is not None:
        raise ArtifactError(
            f"{path}: '{packed}' is compressed, which torch never does",
            required="a file as torch.save writes it",
            fix="save it again with torch.save or safetensors",
        )
    size, free = sum(entry.file_size for entry in entries), available_bytes()
    if size > free:
        raise ArtifactError(
            f"{path} holds {size / 2**30:.3g} GiB of tensors",
            required=f"at most the {free / 2**30:.3g} GiB of memory that are free",
            fix="free memory",
        )
