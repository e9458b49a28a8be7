"""NVIDIA TensorRT, written against what TensorRT 10.12 and 11 share.

TensorRT 11 has no weakly typed networks and no precision flags: the network is strongly typed and the precision is
that of the ONNX file. An engine runs only on the GPU, driver and TensorRT it was built with, unless its profile asks
for a compatible one, so its key names all three and loading compares them.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, ClassVar

from lorkit.decompose.artifacts import digest_file, digest_json, write_bytes, write_json
from lorkit.decompose.errors import ArtifactError, UsageError
from lorkit.decompose.machine import fingerprint
from lorkit.export.targets.base import MODEL, ONNX_EXAMPLE, Availability, BuildRequest, Example, missing
from lorkit.export.targets.tensorrt.building import (
    ENGINE,
    KEY,
    build_plan,
    differences,
    engine_key,
    engine_spec,
    read_key,
    requested,
    why_outdated,
)
from lorkit.export.targets.tensorrt.engine import NO_CUDA_TORCH, TensorrtEngine, sees_gpu
from lorkit.export.targets.tensorrt.timing_cache import read_timings, timing_path, write_timings

if TYPE_CHECKING:
    from lorkit.profiles import Profile

MINIMUM = (10, 12)
BELOW = 12
INSTALL = "pip install 'tensorrt>=10.12,<12', on a machine with an NVIDIA GPU"
_AMPERE = 8


class TrtTarget:
    """The `trt` target."""

    name: ClassVar[str] = "trt"
    runtime: ClassVar[str] = "TensorRT >=10.12,<12 and an NVIDIA GPU"
    precisions: ClassVar[Mapping[str, str]] = {"fp32": "fp32", "fp16": "fp16", "bf16": "bf16", "int8": "int8"}
    quantization: ClassVar[str] = "symmetric"
    built_from: ClassVar[str] = "onnx"
    example: ClassVar[Example] = ONNX_EXAMPLE
    default_profile: ClassVar[str | None] = None

    def available(self, profile: Profile | None = None) -> Availability:
        """Tell whether a TensorRT that this is written for, and a GPU, are here."""
        del profile
        try:
            tensorrt = importlib.import_module("tensorrt")
        except ImportError as error:
            return Availability(False, f"TensorRT is not installed ({error})", INSTALL)
        version = str(tensorrt.__version__)
        if not MINIMUM <= _release(version) < (BELOW,):
            return Availability(False, f"TensorRT {version} is installed", INSTALL)
        if not fingerprint()["gpus"]:
            return Availability(False, "no NVIDIA GPU answers to nvidia-smi", "run it on a machine with an NVIDIA GPU")
        if not sees_gpu():
            return Availability(
                True, install="install a CUDA build of torch", runs=False, cannot_run_because=NO_CUDA_TORCH
            )
        return Availability(True)

    def require(self, profile: Profile) -> None:
        """Check that the GPU at hand, which TensorRT builds for, is of the profile's kind.

        Raises:
            UsageError: It is of another compute capability, so the export would be called after the wrong hardware.
        """
        wanted = profile.device.compute_capability
        if not self.available().ok or wanted is None or profile.engine.hardware_compatible:
            return
        here = fingerprint()["gpus"][0]
        if here.get("sm") not in (None, wanted):
            raise UsageError(
                f"profile '{profile.name}' has compute capability {wanted}, {here['name']} has {here['sm']}",
                required="a profile of the GPU at hand, for which TensorRT builds",
                fix="leave --profile out, or export on that hardware",
            )

    def fingerprint(self) -> str:
        """Return a digest of TensorRT, GPU and driver; empty where no engine can be built."""
        return digest_json(_surroundings(_tensorrt())) if self.available().ok else ""

    def outdated(self, directory: Path, profile: Profile) -> str:
        """Return in what an engine's key differs from this machine and profile; empty where it does not."""
        if not self.available().ok or not (directory / ENGINE).is_file():
            return ""
        return why_outdated(directory, profile, {**_surroundings(_tensorrt()), **requested(profile)})

    def build(self, request: BuildRequest) -> Path:
        """Parse the ONNX file into a strongly typed network and write its engine and the engine's key.

        Raises:
            MissingRuntimeError: TensorRT or a GPU is not here.
            UsageError: TensorRT's parser or builder refuses the network; its own words are in the message.
        """
        if not self.available().ok:
            raise missing(self)
        self.require(request.profile)
        tensorrt = _tensorrt()
        surroundings, spec = _surroundings(tensorrt), engine_spec(request)
        timing = timing_path(surroundings)
        plan, timings = build_plan(tensorrt, spec, read_timings(timing))
        if timings:
            write_timings(timing, timings)
        key = {**surroundings, **requested(request.profile), "batch_shapes": spec.shapes}
        write_bytes(request.directory / ENGINE, plan)
        write_json(request.directory / KEY, engine_key(request.onnx_path, key))
        return request.directory / ENGINE

    def load(self, directory: Path, *, threads: int | None = None) -> TensorrtEngine:
        """Deserialise the engine on the GPU that it was built for.

        Raises:
            MissingRuntimeError: TensorRT or a GPU is not here.
            ArtifactError: There is no engine, or it was built for another GPU, driver or TensorRT.
        """
        del threads  # a GPU engine has no CPU threads of its own
        availability = self.available()
        if not availability.ok or not availability.runs:
            raise missing(self)
        tensorrt = _tensorrt()
        path = directory / ENGINE
        if not path.is_file():
            raise ArtifactError(
                f"{directory} holds no {ENGINE}: it was exported where TensorRT is absent",
                required="an engine built on this machine",
                fix="export it here with `decompose export --target trt --force`",
            )
        key = read_key(directory)
        expected = {"onnx": digest_file(directory / MODEL), **_binding(key, _surroundings(tensorrt))}
        if changed := differences(key, expected):
            raise ArtifactError(
                f"{path} was built for another {changed}",
                required="an engine built on this machine",
                fix="export it here with `decompose export --target trt --force`",
            )
        engine = TensorrtEngine(tensorrt, directory, key, name="TensorRT")
        if key["settings"].get("version_compatible"):  # then any of this major version may run it
            engine.provider = f"TensorRT {_release(str(tensorrt.__version__))[0]}"
        return engine


def _tensorrt() -> ModuleType:
    return importlib.import_module("tensorrt")


def _surroundings(tensorrt: ModuleType) -> dict[str, str]:
    gpu = fingerprint()["gpus"][0]
    return {
        "tensorrt": str(tensorrt.__version__),
        "gpu": str(gpu["name"]),
        "sm": str(gpu.get("sm")),
        "driver": str(gpu["driver"]),
    }


def _binding(key: Mapping[str, Any], here: Mapping[str, str]) -> dict[str, str]:
    """Return which of these surroundings an engine must have been built in: compatible ones leave some open."""
    settings, left = key.get("settings", {}), dict(here)
    if settings.get("hardware_compatible") and _release(here["sm"]) >= (_AMPERE, 0):
        left = {name: value for name, value in left.items() if name not in ("gpu", "sm", "driver")}
    built, now = _release(str(key.get("tensorrt", "0.0"))), _release(here["tensorrt"])
    if settings.get("version_compatible") and built[0] == now[0] and built <= now:
        left = {name: value for name, value in left.items() if name not in ("tensorrt", "driver")}
    return left


def _release(version: str) -> tuple[int, int]:
    """Return major and minor version; what is no number counts as 0."""
    parts = [int(part) if part.isdigit() else 0 for part in version.split(".")[:2]]
    return parts[0], parts[1] if len(parts) > 1 else 0


TARGET = TrtTarget()
