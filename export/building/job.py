"""One export to build: target, hardware and precision; and which there are for the words of a command."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from lorkit import profiles
from lorkit.decompose.documents.export_results import ExportChoice
from lorkit.decompose.errors import UsageError, unknown
from lorkit.decompose.machine import fingerprint
from lorkit.export.runtime.preference import AUTO, CANONICAL_TARGET
from lorkit.export.targets import TARGETS, Target, get_target

BASELINE = "fp32"
# Instruction sets that add products of bytes in 32 bits.
_WIDE = frozenset({"avx512_vnni", "avx_vnni", "amx_int8", "asimd"})


_ONNX = ".onnx"


def is_given(path: Path) -> bool:
    """Return whether a path names an ONNX file, of a network that lorkit did not train, and no artifact."""
    return path.suffix.lower() == _ONNX and not path.is_dir()


@dataclass(frozen=True)
class ExportJob:
    """An export to build: target, precision and hardware."""

    target: Target
    profile: profiles.Profile
    precision: str
    allow_synthetic: bool = False

    @property
    def name(self) -> str:
        """Name of the export's directory."""
        return f"{self.target.name}-{self.profile.name}-{self.precision}"

    @property
    def scheme(self) -> str:
        """The int8 scheme of its hardware."""
        if self.profile.device.kind == "gpu":
            return "symmetric"  # ONNX Runtime's GPU providers take the form that TensorRT does
        wide = _WIDE.intersection(self.profile.match.flags)
        return self.target.quantization if wide or self.target.quantization == "symmetric" else "reduced"

    @property
    def batches(self) -> list[int]:
        """Batch sizes of the profile, the tuned one first."""
        sizes = self.profile.batch_sizes
        return list(dict.fromkeys((sizes.opt, sizes.min, sizes.max)))

    def outdated(self, directory: Path) -> str:
        """Return the reason why the engine in `directory` does not fit this machine; empty if it does."""
        return self.target.outdated(directory, self.profile)

    def chosen_by(self, choice: ExportChoice) -> bool:
        """Return whether a choice is this target and precision."""
        return (self.target.name, self.precision) == (choice.target, choice.precision)


def export_jobs(target: str, profile: str | None, precision: str | None) -> list[ExportJob]:
    """Return the exports of each source: one, or under `auto` the baseline and then every candidate.

    Raises:
        UsageError: An unknown target, profile or precision, or one that the hardware does not support.
    """
    if target == AUTO:
        return _automatic_jobs(detected_profile(profile), precision or AUTO)
    found, precision = get_target(target), precision or BASELINE
    if precision not in (*found.precisions, AUTO):
        raise unknown("precision", precision, (*found.precisions, AUTO))
    hardware = _profile_for(found, profile)
    if precision == AUTO:
        return [ExportJob(found, hardware, name) for name in (BASELINE, *_lower(found, hardware))]
    if precision not in hardware.precisions:
        raise _unsupported(precision, hardware, [name for name in hardware.precisions if name in found.precisions])
    return [ExportJob(found, hardware, precision)]


def _automatic_jobs(hardware: profiles.Profile, precision: str) -> list[ExportJob]:
    """Return the canonical target in fp32, and every other target and precision that runs here."""
    if precision not in (*hardware.precisions, AUTO):
        raise _unsupported(precision, hardware, hardware.precisions)
    able = [TARGETS[name] for name in hardware.targets if name != CANONICAL_TARGET]
    able = [one for one in able if not one.packages and _runs(one, hardware)]
    canonical = get_target(CANONICAL_TARGET)
    every = [
        ExportJob(one, hardware, name) for one in (canonical, *able) for name in (BASELINE, *_lower(one, hardware))
    ]
    return every[:1] + [job for job in every[1:] if precision in (AUTO, job.precision)]


def _runs(target: Target, hardware: profiles.Profile) -> bool:
    state = target.available(hardware)
    return state.ok and state.runs


def _lower(target: Target, hardware: profiles.Profile) -> list[str]:
    return [name for name in target.precisions if name in hardware.precisions and name != BASELINE]


def _unsupported(precision: str, hardware: profiles.Profile, able: Sequence[str]) -> UsageError:
    return UsageError(
        f"precision {precision} on profile {hardware.name}, which does not support it",
        required=f"one of {', '.join(able)}",
        fix="name another with --precision, or another --profile",
    )


def detected_profile(name: str | None) -> profiles.Profile:
    """Return a profile by name, or that of this machine; raise UsageError for an unknown name."""
    try:
        return profiles.load(name) if name else profiles.detect(fingerprint())
    except profiles.ProfileError as error:
        raise UsageError(str(error)) from None


def _profile_for(target: Target, name: str | None) -> profiles.Profile:
    found = detected_profile(name)
    if name is None and found.device.kind == "cpu" and target.default_profile is not None:
        found = detected_profile(target.default_profile)
    target.require(found)
    return found
