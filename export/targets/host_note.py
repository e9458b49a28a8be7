"""The requirements of a compiled engine on its machine, and the note beside the engine that states them.

A note, `engine.json`, is untrusted data: it is validated, has no path, and contains the digest of each file of its
engine.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from pydantic import ConfigDict

from lorkit.decompose.artifacts import digest_file, read_json, write_json
from lorkit.decompose.documents.base import Part, parse
from lorkit.decompose.errors import ArtifactError, MissingRuntimeError
from lorkit.decompose.machine import fingerprint
from lorkit.export.targets.base import Availability

if TYPE_CHECKING:
    from lorkit.profiles import Profile

NOTE = "engine.json"
# Instructions that multiply bfloat16. Without them runtimes emulate such a network in fp32.
NATIVE_BF16 = ("amx_bf16", "avx512_bf16")
# Fraction of the multiplying layers that must run in a low precision for an engine of that name: runtimes leave
# single layers, such as a transposed convolution, in fp32.
SHARE = 0.5


class EngineRequirements(Part):
    """Requirements and properties of an engine: `files` is the SHA-256 of each of its files by name."""

    model_config = ConfigDict(strict=True)

    target: str
    precision: str
    files: dict[str, str]


N = TypeVar("N", bound=EngineRequirements)


def unsupported(profile: Profile | None) -> Availability | None:
    """Return the reason why this CPU does not match a profile; None if it does, or without a profile."""
    lacking = missing_flags(profile.match.flags) if profile is not None and profile.device.kind == "cpu" else []
    if profile is None or not lacking:
        return None
    return Availability(
        False,
        f"this CPU lacks {', '.join(lacking)}, which profile '{profile.name}' has",
        "run it on such a CPU, or choose this one's profile (`decompose profiles detect`)",
    )


def missing_flags(flags: Sequence[str]) -> list[str]:
    """Return the instruction sets that this CPU lacks."""
    return [flag for flag in flags if flag not in fingerprint()["flags"]]


def require_bf16() -> None:
    """Raise MissingRuntimeError unless this CPU multiplies bfloat16 natively; emulation is slower than fp32."""
    if len(missing_flags(NATIVE_BF16)) == len(NATIVE_BF16):
        raise MissingRuntimeError(
            f"this CPU ({fingerprint()['cpu']}) has no bf16 instructions",
            required=f"one of {', '.join(NATIVE_BF16)}",
            fix="use --precision fp32 or int8",
        )


def share(counts: Mapping[str, int], names: Sequence[str]) -> float:
    """Return the fraction of counted layers in some precisions; 0 without any."""
    total = sum(counts.values())
    return sum(counts.get(name, 0) for name in names) / total if total else 0.0


def file_digests(directory: Path, names: Sequence[str]) -> dict[str, str]:
    """Return the SHA-256 of each of an engine's files."""
    return {name: digest_file(directory / name) for name in names}


def write_note(directory: Path, note: EngineRequirements) -> None:
    """Write the note beside its engine."""
    write_json(directory / NOTE, note.to_json())


def read_note(directory: Path, kind: type[N], *, target: str, precisions: Mapping[str, str], names: Sequence[str]) -> N:
    """Read the note of an engine and check the engine's files `names` against it.

    Raises:
        ArtifactError: The note or a file is missing or damaged, or of another target.
    """
    fix = f"export it here with `decompose export --target {target} --force`"
    absent = [name for name in (*names, NOTE) if not (directory / name).is_file()]
    if absent:
        raise ArtifactError(
            f"{directory} holds no {absent[0]}",
            required=f"a complete {target} engine (there is none where its runtime was missing)",
            fix=fix,
        )
    note = parse(kind, read_json(directory / NOTE), directory / NOTE, fix=fix)
    if note.target != target or note.precision not in precisions or sorted(note.files) != sorted(names):
        raise ArtifactError(
            f"{directory / NOTE} is of a {note.target[:40]} engine, {note.precision[:40]}",
            required=f"target {target}, one of {', '.join(precisions)}, files {', '.join(names)}",
            fix=fix,
        )
    changed = [name for name, digest in file_digests(directory, names).items() if digest != note.files[name]]
    if changed:
        raise ArtifactError(
            f"{directory / changed[0]} is not the file that was built", required="an intact engine", fix=fix
        )
    return note
