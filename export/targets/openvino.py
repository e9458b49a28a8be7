"""OpenVINO on the CPU, in fp32, in bf16 (its own lowering of the fp32 file) or from an int8 QDQ file.

OpenVINO ignores a precision hint silently if the CPU does not support it: the precision of the compiled layers is
checked, and bf16 is refused if the CPU would only emulate it. Importing the package reports to Google Analytics and
writes a client id into the home directory; this is switched off on import.
"""

from __future__ import annotations

import importlib
import sys
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, ClassVar

from lorkit.decompose.artifacts.drafts import native_path
from lorkit.decompose.errors import ArtifactError, MissingRuntimeError, UsageError
from lorkit.decompose.machine import engine_wait_policy, tool_versions
from lorkit.export.targets.base import (
    ALL_FORMS,
    Availability,
    BuildRequest,
    Engine,
    Example,
    Inputs,
    NetworkForm,
    Outputs,
    missing,
    shapes_of,
)
from lorkit.export.targets.host_note import SHARE, EngineRequirements, HostTarget, require_bf16, share, unsupported
from lorkit.export.targets.inference_limits import within_limits
from lorkit.export.targets.stepwise_norms import split_norms

if TYPE_CHECKING:
    from onnx import ModelProto

    from lorkit.profiles import Profile

MINIMUM = 2026
DEVICE = "CPU"
XML, BIN = "model.xml", "model.bin"
HINTS = {"fp32": "f32", "bf16": "bf16", "int8": "f32"}  # int8 is in the file; other layers run in f32
RUNS = {"fp32": ("f32",), "bf16": ("bf16",), "int8": ("u8", "i8")}
MULTIPLYING = ("Convolution", "Deconvolution", "FullyConnected", "MatMul")
TELEMETRY = "openvino_telemetry"
INSTALL = "pip install 'openvino>=2026.0'"
_FIX = "export it again with `decompose export --target openvino --force`"


class OpenVinoRequirements(EngineRequirements):
    """`openvino`: the version that converted the file; `device`: always the CPU."""

    openvino: str
    device: str


class OpenVinoEngine(Engine):
    """A compiled network."""

    def __init__(self, compiled: Any, provider: str) -> None:
        super().__init__(compiled.create_infer_request(), provider)
        self._outputs = {port.any_name: port for port in compiled.outputs}

    def infer(self, inputs: Inputs) -> Outputs:
        """Return all outputs of a batch by name."""
        try:
            # inputs are not copied; outputs are, because the next run writes into the same memory
            with within_limits(inputs):
                found = self._opened().infer(dict(inputs), share_inputs=True)
        except RuntimeError as error:
            raise ArtifactError(
                f"OpenVINO refuses a batch of {shapes_of(inputs)} ({_reason(error)})",
                required="inputs of the shape that the network was exported for",
                fix="prepare them with the export's recipe",
            ) from None
        return {name: found[port] for name, port in self._outputs.items()}


class OpenVinoTarget(HostTarget[OpenVinoRequirements]):
    """The `openvino` target."""

    name: ClassVar[str] = "openvino"
    runtime: ClassVar[str] = "openvino"
    requirements = OpenVinoRequirements
    files: ClassVar[tuple[str, ...]] = (XML, BIN)
    precisions: ClassVar[Mapping[str, str]] = {"fp32": "fp32", "bf16": "fp32", "int8": "int8"}
    forms: ClassVar[tuple[NetworkForm, ...]] = ALL_FORMS
    example: ClassVar[Example] = Example("openvino_example.py", "openvino", "openvino_example.py")

    def available(self, profile: Profile | None = None) -> Availability:
        """Return whether OpenVINO and its CPU plugin are installed, and whether this is the profile's CPU."""
        if profile is not None and profile.device.kind != "cpu":
            return Availability(
                False,
                f"profile '{profile.name}' is a GPU, and this target runs on the CPU only",
                "use --profile cpu-generic, or another --target",
            )
        try:
            openvino = import_openvino()
        except ImportError as error:
            return Availability(False, f"openvino cannot be imported ({error})", INSTALL)
        version = _version(openvino)
        if int(version.split(".")[0]) < MINIMUM:
            return Availability(False, f"openvino {version} is installed", INSTALL)
        if DEVICE not in openvino.Core().available_devices:
            return Availability(False, f"openvino {version} has no {DEVICE} plugin", INSTALL)
        return unsupported(profile) or Availability(True)

    def fingerprint(self) -> str:
        """Return the version of OpenVINO, whose converter writes the engine; empty if it is not installed."""
        return tool_versions()["openvino"] or ""

    def unquantised(self, model: ModelProto) -> list[str]:
        """Return the products of joined tensors, as of the tokens of a RAGFormer.

        OpenVINO 2026 moves the dequantisation through the joint, which gives each joined part its zero point, and then
        cannot compile the product: it takes one for the whole tensor.
        """
        joined = {output for node in model.graph.node if node.op_type == "Concat" for output in node.output}
        return [node.name for node in model.graph.node if node.op_type == "MatMul" and joined.intersection(node.input)]

    def build(self, request: BuildRequest) -> Path:
        """Convert the ONNX file to OpenVINO's representation: `model.xml` and its weights, `model.bin`.

        Raises:
            MissingRuntimeError: OpenVINO is missing, or this is not the profile's CPU.
            UsageError: OpenVINO refuses the network, or fixes its batch.
        """
        if not self.available(request.profile).ok:
            raise missing(self, request.profile)
        openvino, directory = import_openvino(), request.directory
        try:
            model = openvino.Core().read_model(native_path(request.onnx_path))
            loops = _loops(model)
            fixed = _fixed_batch(model)
            if request.precision != "bf16":  # which would round the means
                split_norms(model, openvino)
            if not fixed and not loops:  # its default, fp16 weights, would change the network
                openvino.save_model(model, directory / XML, compress_to_fp16=False)
        except RuntimeError as error:
            raise UsageError(
                f"OpenVINO {_version(openvino)} does not take {request.onnx_path.name} ({_reason(error)})",
                required="operators that it supports",
                fix="change the backbone, or use --target onnx",
            ) from None
        if loops:
            raise UsageError(
                f"{request.onnx_path.name} has the loop '{loops}'",
                required="a graph without loops: OpenVINO cannot end one that does not stop",
                fix="use --target onnx, which can",
            )
        if fixed:
            raise UsageError(
                f"{request.onnx_path.name} fixes the batch of '{fixed}'",
                required="a free batch size",
                fix="make the network independent of the size of a batch",
            )
        self.write_note(request, openvino=_version(openvino), device=DEVICE)
        return directory / XML

    def load(self, directory: Path, *, threads: int | None = None) -> OpenVinoEngine:
        """Compile the engine for this CPU, with `threads` threads of OpenVINO's pool, its choice by default.

        Raises:
            MissingRuntimeError: OpenVINO is missing, or this CPU does not run the engine in its precision.
            ArtifactError: A file is missing, damaged or not readable, or the engine's batch is fixed.
        """
        if not self.available().ok:
            raise missing(self)
        openvino = import_openvino()
        note = self.read_note(directory)
        if note.precision == "bf16":
            require_bf16()
        options: dict[str, Any] = {
            "PERFORMANCE_HINT": "LATENCY",
            "NUM_STREAMS": 1,
            "INFERENCE_PRECISION_HINT": HINTS[note.precision],
            # bound threads of two processes would share one core while another is free
            "ENABLE_CPU_PINNING": engine_wait_policy() == "active",
        }
        if threads is not None:
            options["INFERENCE_NUM_THREADS"] = threads
        step = "read"
        try:
            # with the frontend of its own format: read_model would try every other parser on an untrusted file
            frontend = openvino.frontend.FrontEndManager().load_by_framework("ir")
            model = frontend.convert(frontend.load(native_path(directory / XML)))
            if not model.inputs or not model.outputs:  # any other XML gives an empty network
                raise RuntimeError(f"{len(model.inputs)} inputs and {len(model.outputs)} outputs")
            if loops := _loops(model):
                raise RuntimeError(f"the loop '{loops}' may never end, and could not be ended")
            fixed = _fixed_batch(model)
            step = "compile"
            compiled = openvino.Core().compile_model(model, DEVICE, options)
        except RuntimeError as error:
            raise ArtifactError(
                f"OpenVINO {_version(openvino)} cannot {step} {directory / XML} ({_reason(error)})",
                required=f"an intact engine of what OpenVINO runs in {note.precision}",
                fix=f"{_FIX}, or in another precision",
            ) from None
        if fixed:
            raise ArtifactError(
                f"{directory / XML} fixes the batch of '{fixed}'", required="a free batch size", fix=_FIX
            )
        _check(compiled, note.precision)
        return OpenVinoEngine(compiled, f"OpenVINO {_version(openvino)} {DEVICE} {note.precision}")


def layer_precisions(compiled: Any) -> Counter[str]:
    """Count the multiplying layers of a compiled network by precision (`f32`, `bf16`, `u8`)."""
    facts = [layer.get_rt_info() for layer in compiled.get_runtime_model().get_ops()]
    return Counter(
        fact["runtimePrecision"].astype(str) for fact in facts if fact["layerType"].astype(str) in MULTIPLYING
    )


def _check(compiled: Any, precision: str) -> None:
    """Raise MissingRuntimeError if the compiled network has another device or precision than requested."""
    devices = list(compiled.get_property("EXECUTION_DEVICES"))
    if devices != [DEVICE]:
        raise MissingRuntimeError(
            f"OpenVINO chose {', '.join(devices)}", required=f"device {DEVICE}", fix="reinstall openvino"
        )
    layers = layer_precisions(compiled)
    found = share(layers, RUNS[precision])
    if (found < SHARE) if precision != "fp32" else (layers and found < 1.0):
        listed = ", ".join(f"{count} in {name}" for name, count in sorted(layers.items()))
        raise MissingRuntimeError(
            f"OpenVINO runs the engine's convolutions and products in another precision ({listed or 'it has none'})",
            required=f"{precision} ({' or '.join(RUNS[precision])})",
            fix="export it on this machine in a precision that its CPU has",
        )


def _loops(model: Any) -> str:
    """Return the name of a loop whose end its own values decide; empty if there is none."""
    return next((str(one.get_friendly_name()) for one in model.get_ops() if one.get_type_name() == "Loop"), "")


def _fixed_batch(model: Any) -> str:
    """Return the name of an input or output with a fixed batch; empty if all are free."""
    ports = [*model.inputs, *model.outputs]
    # with unknown rank the batch is free
    fixed = [port for port in ports if port.partial_shape.rank.is_static and not port.partial_shape[0].is_dynamic]
    return str(fixed[0].any_name) if fixed else ""


def import_openvino() -> ModuleType:
    """Return OpenVINO, imported with a stub for its telemetry that sends nothing."""
    modules: dict[str, Any] = sys.modules
    if "openvino" in modules:
        return importlib.import_module("openvino")
    reporter = modules.get(TELEMETRY)
    modules[TELEMETRY] = None  # its import now raises ImportError, which OpenVINO handles
    try:
        return importlib.import_module("openvino")
    finally:
        del modules[TELEMETRY]
        if reporter is not None:
            modules[TELEMETRY] = reporter


def _version(openvino: ModuleType) -> str:
    return str(openvino.__version__).split("-")[0]


def _reason(error: RuntimeError) -> str:
    """Return the last line of OpenVINO's message; those before are locations in its source."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1][:160] if lines else type(error).__name__


TARGET = OpenVinoTarget()
