"""ONNX Runtime on the CPU: the canonical file itself is the engine."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from lorkit.decompose.errors import ArtifactError, MissingRuntimeError
from lorkit.export.targets.base import MODEL, Availability, Blueprint, Floats

if TYPE_CHECKING:
    import onnxruntime

    from lorkit.profiles import Profile

PROVIDER = "CPUExecutionProvider"


class OnnxEngine:
    """An ONNX Runtime session with one input and one output."""

    def __init__(self, session: onnxruntime.InferenceSession) -> None:
        self._session: onnxruntime.InferenceSession | None = session
        self._input = session.get_inputs()[0].name
        self._outputs = [session.get_outputs()[0].name]
        self._provider = str(session.get_providers()[0])

    @property
    def provider(self) -> str:
        """The execution provider that the session settled on."""
        return self._provider

    def run(self, batch: Floats) -> Floats:
        """Return the logits (N, classes) of a batch (N, C, *spatial)."""
        if self._session is None:
            raise ArtifactError("the engine is closed", required="an open engine", fix="load it again")
        try:
            logits: Floats = self._session.run(self._outputs, {self._input: batch})[0]
        except runtime_errors() as error:
            raise ArtifactError(
                f"ONNX Runtime refuses a batch of shape {tuple(batch.shape)} ({str(error)[:160]})",
                required="a graph with a free batch size",
                fix="export it again with --force",
            ) from None
        return logits

    def close(self) -> None:
        """Drop the session; ONNX Runtime frees it with the last reference."""
        self._session = None


class OnnxTarget:
    """The `onnx` target."""

    name: ClassVar[str] = "onnx"
    runtime: ClassVar[str] = "onnxruntime"
    precisions: ClassVar[Mapping[str, str]] = {"fp32": "fp32", "int8": "int8"}
    quantization: ClassVar[str] = "asymmetric"
    built_from: ClassVar[str] = "onnx"

    def available(self, profile: Profile | None = None) -> Availability:
        """Tell whether ONNX Runtime and its CPU provider are here."""
        del profile
        try:
            import onnxruntime
        except ImportError as error:
            return Availability(False, f"onnxruntime cannot be imported ({error})", "pip install onnxruntime")
        if PROVIDER not in onnxruntime.get_available_providers():
            return Availability(False, f"this onnxruntime has no {PROVIDER}", "pip install onnxruntime")
        return Availability(True)

    def fingerprint(self) -> str:
        """Return nothing: the file does not depend on the runtime that happens to be installed."""
        return ""

    def build(self, blueprint: Blueprint) -> Path:
        """Return the ONNX file: it is the engine."""
        return blueprint.onnx_path

    def load(self, directory: Path, *, threads: int | None = None) -> OnnxEngine:
        """Open a session on `model.onnx` with `threads` threads, all that the machine has by default.

        Raises:
            MissingRuntimeError: ONNX Runtime is not here, or settled on another provider than asked for.
            ArtifactError: ONNX Runtime cannot read the file.
        """
        try:
            import onnxruntime
        except ImportError:
            raise MissingRuntimeError(
                "onnxruntime cannot be imported", required="onnxruntime", fix="pip install onnxruntime"
            ) from None
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads or 0
        options.inter_op_num_threads = 1  # one chain of layers: a second pool would only wait
        options.log_severity_level = 3
        path = directory / MODEL
        if not path.is_file():
            raise ArtifactError(f"{path} is missing", required="a complete export", fix="export it again with --force")
        try:
            session = onnxruntime.InferenceSession(str(path), options, providers=[PROVIDER])
        except runtime_errors() as error:
            raise ArtifactError(
                f"ONNX Runtime cannot read {path} ({str(error)[:160]})",
                required="an intact ONNX file",
                fix="export it again with --force",
            ) from None
        if session.get_providers()[0] != PROVIDER:
            raise MissingRuntimeError(
                f"ONNX Runtime chose {session.get_providers()[0]}", required=PROVIDER, fix="reinstall onnxruntime"
            )
        return OnnxEngine(session)


def runtime_errors() -> tuple[type[Exception], ...]:
    """Return ONNX Runtime's own errors: they share no root but Exception."""
    from onnxruntime.capi import onnxruntime_pybind11_state as state

    names = ("Fail", "InvalidArgument", "InvalidGraph", "InvalidProtobuf", "NoSuchFile", "NotImplemented")
    return tuple(getattr(state, name) for name in (*names, "RuntimeException"))


TARGET = OnnxTarget()
