"""Base class of the targets of NVIDIA's runtimes: an engine, and a key file with its requirements."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from lorkit.decompose.artifacts import digest_file, digest_json, write_json
from lorkit.decompose.errors import ArtifactError, MissingRuntimeError, UsageError
from lorkit.decompose.machine import fingerprint
from lorkit.export.targets.base import MODEL, BuildRequest, Target, missing
from lorkit.export.targets.tensorrt.building import ENGINE, KEY, batch_shapes, differences, engine_key, flags, read_key

if TYPE_CHECKING:
    from lorkit.profiles import Profile


def first_gpu() -> dict[str, str]:
    """Return name, compute capability and driver of the GPU that engines are built for."""
    gpu = fingerprint()["gpus"][0]
    return {"gpu": str(gpu["name"]), "sm": str(gpu.get("sm")), "driver": str(gpu["driver"])}


class TensorrtTarget(Target):
    """A target whose engines are bound to libraries and hardware.

    Attributes:
        library: Name of its runtime.
        engine: File of the engine.
        wanted: Requirements of loading.
        lacks: Engine settings of a profile that it does not have.
    """

    library: ClassVar[str]
    engine: ClassVar[str] = ENGINE
    wanted: ClassVar[str] = "an engine built on this machine"
    lacks: ClassVar[tuple[str, ...]] = ()
    precisions: ClassVar[Mapping[str, str]] = {"fp32": "fp32", "fp16": "fp16", "bf16": "bf16", "int8": "int8"}
    quantization: ClassVar[str] = "symmetric"

    @abstractmethod
    def surroundings(self) -> dict[str, Any]:
        """Return the libraries and hardware to which a new engine is bound."""

    def require(self, profile: Profile) -> None:
        """Raise MissingRuntimeError for a CPU, UsageError for settings of a profile that the target does not have."""
        if profile.device.kind == "cpu":
            raise MissingRuntimeError(
                f"target '{self.name}' for profile '{profile.name}', a CPU",
                required="the profile of an NVIDIA GPU",
                fix="name one with --profile, such as l4 or h200 (`decompose profiles list`), or use --target onnx",
            )
        for name in self.lacks:
            if getattr(profile.engine, name):
                raise UsageError(
                    f"profile '{profile.name}' asks for engine.{name}",
                    required=f"settings that target '{self.name}' supports",
                    fix="set it to false, or use --target trt",
                )

    def requested(self, profile: Profile) -> dict[str, Any]:
        """Return the part of the key from a profile."""
        settings = profile.engine.model_dump(mode="json")
        return {"profile": profile.name, "flags": flags(settings), "settings": settings}

    def bound_to(self, key: Mapping[str, Any]) -> dict[str, Any]:
        """Return what the key of an engine must state for the engine to run here."""
        return self.surroundings()

    def fingerprint(self) -> str:
        """Return a digest of libraries and hardware; empty if no engine can be built."""
        return digest_json(self.surroundings()) if self.available().ok else ""

    def outdated(self, directory: Path, profile: Profile) -> str:
        """Return the differences of an engine's key from this machine and profile; empty without any."""
        if not self.available().ok or not (directory / self.engine).is_file():
            return ""
        try:
            key = read_key(directory)
        except ArtifactError as error:
            return str(error)
        shapes = batch_shapes(profile, key["batch_shapes"][0][1:])
        changed = differences(key, {**self.surroundings(), **self.requested(profile), "batch_shapes": shapes})
        return changed and f"its engine was built for another {changed}"

    def code_in(self, directory: Path) -> tuple[str, ...]:
        """Return the engine also if it contains its own runtime, which TensorRT runs on the host."""
        if self.native or not (directory / self.engine).is_file():
            return self.native
        return (self.engine,) if read_key(directory).get("settings", {}).get("version_compatible") else ()

    def check_build(self, profile: Profile) -> None:
        """Raise MissingRuntimeError if nothing can be built here, UsageError if not for this profile."""
        if not self.available().ok:
            raise missing(self)
        self.require(profile)

    def write_key(self, request: BuildRequest, **more: Any) -> Path:
        """Write the key of a new engine, and return the engine's file."""
        key = {**self.surroundings(), **self.requested(request.profile), **more}
        write_json(request.directory / KEY, engine_key(request.onnx_path, key))
        return request.directory / self.engine

    def checked_key(self, directory: Path) -> dict[str, Any]:
        """Return the key of an engine that can be loaded here.

        Raises:
            MissingRuntimeError: The runtime or a GPU is missing.
            ArtifactError: There is no engine, or it was built for another GPU or library.
        """
        availability = self.available()
        if not availability.ok or not availability.runs:
            raise missing(self)
        fix = f"export it here with `decompose export --target {self.name} --force`"
        if not (directory / self.engine).is_file():
            raise ArtifactError(
                f"{directory} has no {self.engine}: it was exported where {self.library} is not installed",
                required=self.wanted,
                fix=fix,
            )
        key = read_key(directory)
        if changed := differences(key, {"onnx": digest_file(directory / MODEL), **self.bound_to(key)}):
            raise ArtifactError(
                f"{directory / self.engine} was built for another {changed}", required=self.wanted, fix=fix
            )
        return key
