"""One export to build: target, hardware and precision."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from lorkit import profiles
from lorkit.export.targets import Target

# Instruction sets that add products of bytes in 32 bits.
_WIDE = frozenset({"avx512_vnni", "avx_vnni", "amx_int8", "asimd"})


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

    def outdated(self, directory: Path) -> str:
        """Return the reason why the engine in `directory` does not fit this machine; empty if it does."""
        return self.target.outdated(directory, self.profile)
