"""NVIDIA TensorRT-RTX: engines built ahead of time, also without a GPU, that run on RTX GPUs only.

The precision is that of the ONNX file. Kernels are finished on the GPU at load time, so an engine depends on its
compute capability and on the version of the runtime, not on GPU and driver.
"""

from __future__ import annotations

import importlib
import signal
import tempfile
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, ClassVar

from lorkit.decompose.artifacts import read_json, write_bytes, write_json
from lorkit.decompose.errors import ArtifactError, UsageError
from lorkit.decompose.machine import fingerprint
from lorkit.decompose.processes import module_command, run_child
from lorkit.export.targets.base import ALL_FORMS, Availability, BuildRequest, NetworkForm
from lorkit.export.targets.tensorrt.base import TensorrtTarget
from lorkit.export.targets.tensorrt.building import ENGINE, EngineSpec, engine_spec
from lorkit.export.targets.tensorrt.engine import NO_CUDA_BUILD, TensorrtEngine, sees_gpu
from lorkit.export.targets.tensorrt.rtx_process import RESULT

if TYPE_CHECKING:
    from lorkit.profiles import Profile

INSTALL = "pip install 'lorkit[tensorrt-rtx]'"
CAPABILITIES = ("7.5", "8.0", "8.6", "8.9", "12.0", "12.1")  # used if the runtime is not installed
ELSEWHERE = "copy the export to a machine with an RTX GPU of its profile"
COMMAND = module_command("lorkit.export.targets.tensorrt.rtx_process")
TIMEOUT_SECONDS = 3600.0


class TrtRtxTarget(TensorrtTarget):
    """The `trt-rtx` target."""

    name: ClassVar[str] = "trt-rtx"
    runtime: ClassVar[str] = "TensorRT-RTX; to run, an NVIDIA RTX GPU"
    library: ClassVar[str] = "TensorRT-RTX"
    forms: ClassVar[tuple[NetworkForm, ...]] = ALL_FORMS
    wanted: ClassVar[str] = "an engine for this GPU and TensorRT-RTX"
    lacks: ClassVar[tuple[str, ...]] = ("version_compatible", "hardware_compatible")
    default_profile: ClassVar[str | None] = "rtx-ada"

    def available(self, profile: Profile | None = None) -> Availability:
        """Return whether TensorRT-RTX, and a GPU that runs engines for `profile`, are present."""
        try:
            _runtime()
        except (ImportError, OSError) as error:
            return Availability(False, f"TensorRT-RTX is not installed ({error})", INSTALL, runs=False)
        gpus = fingerprint()["gpus"]
        if not gpus:
            return Availability.only_built("nvidia-smi finds no NVIDIA GPU", ELSEWHERE)
        here, wanted = str(gpus[0].get("sm")), _capabilities()
        if profile is not None and profile.device.compute_capability is not None:
            wanted = (profile.device.compute_capability,)
        if here not in wanted:
            why = f"{gpus[0]['name']} has compute capability {here}, not {' or '.join(wanted)}"
            return Availability.only_built(why, ELSEWHERE)
        if not sees_gpu():
            return NO_CUDA_BUILD
        return Availability(True)

    def require(self, profile: Profile) -> None:
        """Check that TensorRT-RTX builds for the compute capability of a profile, and supports its settings.

        Raises:
            UsageError: It is a CPU or a GPU of another generation, or requests compatible engines.
        """
        capability = profile.device.compute_capability
        if capability is None or capability not in _capabilities():
            given = f"compute capability {capability}" if capability else f"a {profile.device.kind} without one"
            raise UsageError(
                f"profile '{profile.name}' is {given}",
                required=f"a profile of compute capability {', '.join(_capabilities())} for target '{self.name}'",
                fix=f"name one, as --profile {self.default_profile}",
            )
        super().require(profile)

    def surroundings(self) -> dict[str, Any]:
        """Return the runtime's version."""
        return {"tensorrt_rtx": str(_runtime().__version__)}

    def requested(self, profile: Profile) -> dict[str, Any]:
        """Return the compute capability of a profile, and its part of every key."""
        return {"compute_capability": profile.device.compute_capability, **super().requested(profile)}

    def bound_to(self, key: Mapping[str, Any]) -> dict[str, Any]:
        """Return the runtime's version and the compute capability of the GPU."""
        return {**super().bound_to(key), "compute_capability": str(fingerprint()["gpus"][0].get("sm"))}

    def build(self, request: BuildRequest) -> Path:
        """Build the engine in a separate process, and write it and its key.

        Raises:
            MissingRuntimeError: TensorRT-RTX is missing.
            UsageError: It does not build for the profile, or its parser or builder refuses the network.
            ArtifactError: The process ended, or took too long, without an engine.
        """
        self.check_build(request.profile)
        spec = engine_spec(request, request.profile.device.compute_capability)
        write_bytes(request.directory / ENGINE, _build_apart(spec))
        return self.write_key(request, batch_shapes=spec.shapes)

    def load(self, directory: Path, *, threads: int | None = None) -> TensorrtEngine:
        """Load the engine on an RTX GPU, where its kernels are finished.

        Raises:
            MissingRuntimeError: TensorRT-RTX or an RTX GPU is missing.
            ArtifactError: There is no engine, or it was built for another GPU or TensorRT-RTX.
        """
        key = self.checked_key(directory)  # first, to report what is missing
        return TensorrtEngine(_runtime(), directory, key, name="TensorRT-RTX")


def _build_apart(spec: EngineSpec) -> bytes:
    with tempfile.TemporaryDirectory(prefix="lorkit-") as folder:
        file = Path(folder) / "spec.json"
        write_json(file, asdict(spec))
        try:
            done = run_child([*COMMAND, str(file), folder], timeout=TIMEOUT_SECONDS)
        except TimeoutError:
            raise ArtifactError(
                f"TensorRT-RTX built no engine in {TIMEOUT_SECONDS:.0f} s",
                required="a builder that finishes",
                fix="export a smaller network, or use --target onnx",
            ) from None
        status = done.status
        ending = f"signal {signal.Signals(-status).name}" if status < 0 else f"exit status {status}"
        log = _last_error(done.stdout + done.stderr)
        if not (Path(folder) / RESULT).is_file():
            raise ArtifactError(
                f"the process that builds with TensorRT-RTX ended without an engine ({ending}{log})",
                required="a builder that finishes",
                fix="try again, or use --target onnx",
            )
        error = read_json(Path(folder) / RESULT)["error"]
        if error is not None:
            given = error["given"] + (log if error["reason_in_log"] else "")
            raise UsageError(given, required=error["required"], fix=error["fix"])
        return (Path(folder) / ENGINE).read_bytes()


def _last_error(log: str) -> str:
    """Return the last line that looks like an error, shortened, with a comma before it."""
    lines = [line.strip() for line in log.splitlines() if line.strip()]
    errors = [line.split("[E]", 1)[1].strip() for line in lines if "[E]" in line] or lines
    return f", {errors[-1][:200]}" if errors else ""


def _runtime() -> ModuleType:
    return importlib.import_module("tensorrt_rtx")


def _capabilities() -> tuple[str, ...]:
    """Return the compute capabilities that the installed runtime builds for."""
    try:
        known = _runtime().ComputeCapability.__members__
    except (ImportError, OSError):
        return CAPABILITIES
    numbers = sorted(int(name.removeprefix("SM")) for name in known if name.startswith("SM"))
    return tuple(f"{number // 10}.{number % 10}" for number in numbers)


TARGET = TrtRtxTarget()
