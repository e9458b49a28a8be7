"""ONNX Runtime: the canonical file itself is the engine, on the CPU or, for a GPU's profile, on that GPU.

ONNX Runtime falls back to the CPU silently if a provider does not load, and node by node if it lacks a kernel. Here
both are errors: the requested provider runs all of the graph, and is recorded.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from lorkit.decompose.artifacts import read_json, write_json
from lorkit.decompose.artifacts.drafts import native_path
from lorkit.decompose.errors import ArtifactError, MissingRuntimeError
from lorkit.decompose.machine import engine_wait_policy, fingerprint
from lorkit.export.targets.base import (
    ALL_FORMS,
    MODEL,
    Availability,
    BuildRequest,
    Engine,
    Inputs,
    NetworkForm,
    Outputs,
    Target,
    missing,
    shapes_of,
)
from lorkit.export.targets.inference_limits import run_within_limits

if TYPE_CHECKING:
    import onnxruntime

    from lorkit.profiles import Profile

PROVIDER = "CPUExecutionProvider"
GPU_PROVIDERS = {"cuda": "CUDAExecutionProvider", "tensorrt": "TensorrtExecutionProvider"}
SETTINGS = "engine.json"
_GPU_INSTALL = (
    "pip uninstall onnxruntime, then pip install onnxruntime-gpu (both are the package `onnxruntime`), on a machine "
    "with an NVIDIA GPU"
)


class OnnxEngine(Engine):
    """An ONNX Runtime session."""

    def __init__(self, session: onnxruntime.InferenceSession) -> None:
        super().__init__(session, str(session.get_providers()[0]))
        self._outputs = [value.name for value in session.get_outputs()]

    def infer(self, inputs: Inputs) -> Outputs:
        """Return all outputs of a batch by name."""
        try:
            found = run_within_limits(self._opened(), self._outputs, inputs)
        except runtime_errors() as error:
            raise ArtifactError(
                f"ONNX Runtime refuses a batch of {shapes_of(inputs)} ({str(error)[:160]})",
                required="a graph with a free batch size",
                fix="export it again with --force; if that ends so too, make the network independent of it",
            ) from None
        return dict(zip(self._outputs, found, strict=True))


class OnnxTarget(Target):
    """The `onnx` target."""

    name: ClassVar[str] = "onnx"
    runtime: ClassVar[str] = "onnxruntime"
    precisions: ClassVar[Mapping[str, str]] = {"fp32": "fp32", "fp16": "fp16", "int8": "int8"}
    forms: ClassVar[tuple[NetworkForm, ...]] = ALL_FORMS

    def available(self, profile: Profile | None = None) -> Availability:
        """Return whether ONNX Runtime and the provider for the profile's hardware are installed."""
        try:
            import onnxruntime
        except ImportError as error:
            return Availability(False, f"onnxruntime cannot be imported ({error})", "pip install onnxruntime")
        wanted = provider_of(profile)
        if wanted in onnxruntime.get_available_providers() and (wanted == PROVIDER or fingerprint()["gpus"]):
            return Availability(True)
        if wanted == PROVIDER:
            return Availability(False, f"this onnxruntime has no {PROVIDER}", "pip install onnxruntime")
        lacks = "nvidia-smi finds no NVIDIA GPU" if not fingerprint()["gpus"] else f"this onnxruntime has no {wanted}"
        return Availability.only_built(lacks, _GPU_INSTALL)

    def build(self, request: BuildRequest) -> Path:
        """Return the ONNX file, which is the engine; for a GPU, record the provider beside it."""
        wanted = provider_of(request.profile)
        if wanted != PROVIDER:
            write_json(request.directory / SETTINGS, {"provider": wanted})
        return request.onnx_path

    def load(self, directory: Path, *, threads: int | None = None) -> OnnxEngine:
        """Open a session on `model.onnx` with `threads` threads, all of the machine by default.

        Raises:
            MissingRuntimeError: ONNX Runtime is missing, or chose another provider.
            ArtifactError: ONNX Runtime cannot read the file.
        """
        if not self.available().ok:
            raise missing(self)
        import onnxruntime

        path = directory / MODEL
        if not path.is_file():
            raise ArtifactError(f"{path} is missing", required="a complete export", fix="export it again with --force")
        wanted = _recorded(directory)
        if wanted not in onnxruntime.get_available_providers():
            raise MissingRuntimeError(f"this onnxruntime has no {wanted}", required=wanted, fix=_GPU_INSTALL)
        try:
            session = onnxruntime.InferenceSession(
                native_path(path), session_options(threads, wanted), providers=[wanted]
            )
        except runtime_errors() as error:
            raise ArtifactError(
                f"ONNX Runtime cannot read {path} ({str(error)[:160]})",
                required="an intact ONNX file"
                if wanted == PROVIDER
                else f"an intact ONNX file that {wanted} runs whole",
                fix="export it again with --force",
            ) from None
        if session.get_providers()[0] != wanted:
            raise MissingRuntimeError(
                f"ONNX Runtime chose {session.get_providers()[0]}", required=wanted, fix="reinstall onnxruntime"
            )
        return OnnxEngine(session)


def provider_of(profile: Profile | None) -> str:
    """Return the execution provider for a profile's hardware; that of the CPU without one."""
    return PROVIDER if profile is None or profile.device.kind == "cpu" else GPU_PROVIDERS[profile.engine.provider]


def _recorded(directory: Path) -> str:
    """Return the recorded provider of an export; raise ArtifactError if it is unknown."""
    path = directory / SETTINGS
    found = read_json(path).get("provider") if path.is_file() else PROVIDER
    if found not in (PROVIDER, *GPU_PROVIDERS.values()):
        raise ArtifactError(
            f"{path} names the provider {found!r}",
            required=f"one of {', '.join((PROVIDER, *GPU_PROVIDERS.values()))}",
            fix="export it again with --force",
        )
    return str(found)


def session_options(threads: int | None, provider: str) -> onnxruntime.SessionOptions:
    """Return the options of a session with a number of threads, by default all; see `engine_wait_policy`."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads or 0
    options.inter_op_num_threads = 1  # the layers are sequential
    options.log_severity_level = 3
    # threads that spin between two layers take the cores from other processes: twice the CPU time per image
    options.add_session_config_entry("session.intra_op.allow_spinning", str(int(engine_wait_policy() == "active")))
    if provider != PROVIDER:
        options.add_session_config_entry("session.disable_cpu_ep_fallback", "1")
    return options


def runtime_errors() -> tuple[type[Exception], ...]:
    """Return ONNX Runtime's errors, which have no common base but Exception."""
    from onnxruntime.capi import onnxruntime_pybind11_state as state

    names = ("Fail", "InvalidArgument", "InvalidGraph", "InvalidProtobuf", "NoSuchFile", "NotImplemented")
    return tuple(getattr(state, name) for name in (*names, "RuntimeException"))


TARGET = OnnxTarget()
