"""The requirements of a compiled engine on its machine, and the note beside the engine that states them.

A note, `engine.json`, is untrusted data: it is validated, has no path, and contains the digest of each file of its
engine.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar

from pydantic import ConfigDict

from lorkit.decompose.artifacts import digest_file, read_json, write_json
from lorkit.decompose.documents.base import Part, parse
from lorkit.decompose.errors import ArtifactError, MissingRuntimeError
from lorkit.decompose.machine import fingerprint
from lorkit.export.targets.base import Availability, BuildRequest, Target

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


class HostTarget(Target, Generic[N]):
    """A target whose engines belong to the machine that built them.

    Attributes:
        requirements: Model of the note.
        files: Files of an engine.
    """

    requirements: type[N]
    files: ClassVar[tuple[str, ...]]

    def write_note(self, request: BuildRequest, **more: Any) -> None:
        """Write the note beside a new engine, with further fields."""
        note = self.requirements(
            target=self.name, precision=request.precision, files=self._digests(request.directory), **more
        )
        write_json(request.directory / NOTE, note.to_json())

    def read_note(self, directory: Path) -> N:
        """Read the note of an engine and check the engine's files against it.

        Raises:
            ArtifactError: The note or a file is missing or damaged, or of another target.
        """
        fix = f"export it here with `decompose export --target {self.name} --force`"
        absent = [name for name in (*self.files, NOTE) if not (directory / name).is_file()]
        if absent:
            raise ArtifactError(
                f"{directory} has no {absent[0]}",
                required=f"a complete {self.name} engine (there is none where its runtime was missing)",
                fix=fix,
            )
        note = parse(self.requirements, read_json(directory / NOTE), directory / NOTE, fix=fix)
        known = note.target == self.name and note.precision in self.precisions
        if not known or sorted(note.files) != sorted(self.files):
            raise ArtifactError(
                f"{directory / NOTE} is of a {note.target[:40]} engine, {note.precision[:40]}",
                required=f"target {self.name}, one of {', '.join(self.precisions)}, files {', '.join(self.files)}",
                fix=fix,
            )
        changed = [name for name, digest in self._digests(directory).items() if digest != note.files[name]]
        if changed:
            raise ArtifactError(
                f"{directory / changed[0]} is not the file that was built", required="an intact engine", fix=fix
            )
        return note

    def _digests(self, directory: Path) -> dict[str, str]:
        return {name: digest_file(directory / name) for name in self.files}
