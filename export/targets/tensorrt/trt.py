"""NVIDIA TensorRT, written for the common API of TensorRT 10.12 and 11.

TensorRT 11 has no weakly typed networks and no precision flags: the network is strongly typed and the precision is that
of the ONNX file. An engine runs only on the GPU, driver and TensorRT it was built with, unless its profile requests a
compatible one; its key has all three, and loading compares them.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, ClassVar

from lorkit.decompose.artifacts import write_bytes
from lorkit.decompose.errors import UsageError
from lorkit.decompose.machine import fingerprint
from lorkit.export.targets.base import ALL_FORMS, Availability, BuildRequest, NetworkForm
from lorkit.export.targets.tensorrt.base import TensorrtTarget, first_gpu
from lorkit.export.targets.tensorrt.build_script import SCRIPT, write_build_script
from lorkit.export.targets.tensorrt.building import ENGINE, build_plan, engine_spec
from lorkit.export.targets.tensorrt.engine import NO_CUDA_BUILD, TensorrtEngine, sees_gpu
from lorkit.export.targets.tensorrt.timing_cache import read_timings, timing_path, write_timings

if TYPE_CHECKING:
    from lorkit.profiles import Profile

MINIMUM = (10, 12)
BELOW = 12
VERSIONS = ">=10.12,<12"
INSTALL = f"pip install 'tensorrt{VERSIONS}', on a machine with an NVIDIA GPU"
_AMPERE = 8


class TrtTarget(TensorrtTarget):
    """The `trt` target."""

    name: ClassVar[str] = "trt"
    runtime: ClassVar[str] = f"TensorRT {VERSIONS} and an NVIDIA GPU"
    library: ClassVar[str] = "TensorRT"
    forms: ClassVar[tuple[NetworkForm, ...]] = ALL_FORMS
    leaves: ClassVar[tuple[str, ...]] = (SCRIPT,)

    def available(self, profile: Profile | None = None) -> Availability:
        """Return whether a supported TensorRT and a GPU are present."""
        try:
            tensorrt = importlib.import_module("tensorrt")
        except ImportError as error:
            return Availability(False, f"TensorRT is not installed ({error})", INSTALL)
        version = str(tensorrt.__version__)
        if not MINIMUM <= _release(version) < (BELOW,):
            return Availability(False, f"TensorRT {version} is installed", INSTALL)
        if not fingerprint()["gpus"]:
            return Availability(False, "nvidia-smi finds no NVIDIA GPU", "run it on a machine with an NVIDIA GPU")
        if not sees_gpu():
            return NO_CUDA_BUILD
        return Availability(True)

    def require(self, profile: Profile) -> None:
        """Raise UsageError if this GPU, for which TensorRT builds, has another compute capability than the profile.

        Raises MissingRuntimeError for the profile of a CPU.
        """
        super().require(profile)
        wanted = profile.device.compute_capability
        if not self.available().ok or wanted is None or profile.engine.hardware_compatible:
            return
        here = fingerprint()["gpus"][0]
        if here.get("sm") not in (None, wanted):
            raise UsageError(
                f"profile '{profile.name}' has compute capability {wanted}, {here['name']} has {here['sm']}",
                required="a profile of this GPU, for which TensorRT builds",
                fix="leave --profile out, or export on that hardware",
            )

    def leave(self, directory: Path, profile: Profile, command: str, parent: str) -> None:
        """Write `build.sh`, which builds the engine with trtexec."""
        write_build_script(directory, profile, command, parent=parent, versions=VERSIONS)

    def surroundings(self) -> dict[str, str]:
        """Return TensorRT's version, the GPU and its driver."""
        return {"tensorrt": str(_tensorrt().__version__), **first_gpu()}

    def bound_to(self, key: Mapping[str, Any]) -> dict[str, str]:
        """Return the required surroundings of an engine; those of compatible engines leave some open."""
        return _binding(key, self.surroundings())

    def build(self, request: BuildRequest) -> Path:
        """Parse the ONNX file into a strongly typed network and write its engine and the engine's key.

        Raises:
            MissingRuntimeError: TensorRT or a GPU is missing.
            UsageError: TensorRT's parser or builder refuses the network; the message quotes it.
        """
        self.check_build(request.profile)
        spec = engine_spec(request)
        timing = timing_path(self.surroundings())
        plan, timings = build_plan(_tensorrt(), spec, read_timings(timing))
        if timings:
            write_timings(timing, timings)
        write_bytes(request.directory / ENGINE, plan)
        return self.write_key(request, batch_shapes=spec.shapes)

    def load(self, directory: Path, *, threads: int | None = None) -> TensorrtEngine:
        """Deserialise the engine on the GPU that it was built for.

        Raises:
            MissingRuntimeError: TensorRT or a GPU is missing.
            ArtifactError: There is no engine, or it was built for another GPU, driver or TensorRT.
        """
        key, tensorrt = self.checked_key(directory), _tensorrt()
        engine = TensorrtEngine(tensorrt, directory, key, name="TensorRT")
        if key["settings"].get("version_compatible"):  # then any version with this major may run it
            engine.provider = f"TensorRT {_release(str(tensorrt.__version__))[0]}"
        return engine


def _tensorrt() -> ModuleType:
    return importlib.import_module("tensorrt")


def _binding(key: Mapping[str, Any], here: Mapping[str, str]) -> dict[str, str]:
    """Return the required surroundings of an engine; those of compatible engines leave some open."""
    settings, left = key.get("settings", {}), dict(here)
    if settings.get("hardware_compatible") and _release(here["sm"]) >= (_AMPERE, 0):
        left = {name: value for name, value in left.items() if name not in ("gpu", "sm", "driver")}
    built, now = _release(str(key.get("tensorrt", "0.0"))), _release(here["tensorrt"])
    if settings.get("version_compatible") and built[0] == now[0] and built <= now:
        left = {name: value for name, value in left.items() if name not in ("tensorrt", "driver")}
    return left


def _release(version: str) -> tuple[int, int]:
    """Return major and minor version; other text counts as 0."""
    parts = [int(part) if part.isdigit() else 0 for part in version.split(".")[:2]]
    return parts[0], parts[1] if len(parts) > 1 else 0


TARGET = TrtTarget()
