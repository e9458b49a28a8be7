"""Torch-TensorRT: the network compiled from torch, saved as an exported program that torch loads.

Written for the common API of Torch-TensorRT 2.11 to 2.13. The precision is that of the module (strong typing): `fp16`
and `bf16` cast the network and keep float32 at both ends. `enabled_precisions` is deprecated and later removed, so it
is not passed; `use_explicit_typing` is passed if `compile` still has it.
"""

from __future__ import annotations

import copy
import importlib
import inspect
import pickle
import tempfile
import zipfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from lorkit.decompose.documents.heads import IMAGE, LOGITS
from lorkit.decompose.errors import ArtifactError, UsageError
from lorkit.decompose.machine import fingerprint
from lorkit.export.targets.base import Availability, BuildRequest, Inputs, Outputs
from lorkit.export.targets.gpu_timer import GpuTimer
from lorkit.export.targets.tensorrt.base import TensorrtTarget, first_gpu
from lorkit.export.targets.tensorrt.building import batch_shapes
from lorkit.export.targets.tensorrt.engine import RangedEngine, sees_gpu
from lorkit.export.targets.tensorrt.timing_cache import read_timings, timing_path, write_timings

if TYPE_CHECKING:
    import torch
    from torch import nn

    from lorkit.profiles import Profile

PROGRAM = "model.pt2"
DEVICE = "cuda:0"
ENGINES = "_run_on_acc"  # what Torch-TensorRT calls the parts that it compiled; the others stay in torch
INSTALL = "pip install 'lorkit[torch-tensorrt]', beside a CUDA build of torch of the same minor version"


class TorchTrtTarget(TensorrtTarget):
    """The `torch-trt` target."""

    name: ClassVar[str] = "torch-trt"
    runtime: ClassVar[str] = "torch-tensorrt of torch's minor version and an NVIDIA GPU"
    library: ClassVar[str] = "Torch-TensorRT"
    engine: ClassVar[str] = PROGRAM
    native: ClassVar[tuple[str, ...]] = (PROGRAM,)
    wanted: ClassVar[str] = "a program compiled on this machine"
    precisions: ClassVar[Mapping[str, str]] = {"fp32": "fp32", "fp16": "fp32", "bf16": "fp32"}
    built_from: ClassVar[str] = "torch"
    lacks: ClassVar[tuple[str, ...]] = ("strip",)  # an exported program cannot take weights from another file

    def available(self, profile: Profile | None = None) -> Availability:
        """Return whether a Torch-TensorRT that fits torch, and a GPU that torch sees, are present."""
        try:
            library = importlib.import_module("torch_tensorrt")
        except (ImportError, OSError, RuntimeError) as error:  # it loads the libraries of TensorRT and CUDA
            reason = " ".join(str(error).split())[:160]
            return Availability(False, f"Torch-TensorRT cannot be imported ({reason})", INSTALL)
        import torch

        if _minor(library.__version__) != _minor(torch.__version__):
            reason = f"Torch-TensorRT {library.__version__} is installed with torch {torch.__version__}"
            return Availability(False, reason, INSTALL)
        if not sees_gpu() or not fingerprint()["gpus"]:
            return Availability(False, "torch sees no NVIDIA GPU", "run it on a machine with an NVIDIA GPU")
        return Availability(True)

    def surroundings(self) -> dict[str, str]:
        """Return the versions of both libraries, the GPU and its driver."""
        versions = {name: str(importlib.import_module(name).__version__) for name in ("torch_tensorrt", "torch")}
        return versions | first_gpu()

    def build(self, request: BuildRequest) -> Path:
        """Compile the network and save it as an exported program, with its key.

        Raises:
            MissingRuntimeError: Torch-TensorRT or a GPU is missing.
            UsageError: Torch-TensorRT refuses the network, or leaves all of it to torch.
        """
        self.check_build(request.profile)
        library, path = importlib.import_module("torch_tensorrt"), request.directory / PROGRAM
        shapes = batch_shapes(request.profile, request.shape)
        program, example = _traced(request, shapes)
        kept = timing_path(self.surroundings())
        compiled = _compile(library, program, kept, _options(library, request, shapes))
        parts = [name for name, _ in compiled.named_children()]
        engines = [name for name in parts if ENGINES in name]
        if not engines:
            raise UsageError(
                f"Torch-TensorRT left all of the network to torch ({', '.join(parts) or 'no parts'})",
                required="operators that it supports",
                fix="change the backbone, or use --target aoti",
            )
        library.save(compiled, str(path), output_format="exported_program", arg_inputs=[example], retrace=False)
        parts_of = {"engines": len(engines), "parts": len(parts)}
        return self.write_key(request, batch_shapes=shapes, precision=request.precision, **parts_of)

    def load(self, directory: Path, *, threads: int | None = None) -> TorchTrtEngine:
        """Load the program on the GPU that it was compiled for.

        Raises:
            MissingRuntimeError: Torch-TensorRT or a GPU is missing.
            ArtifactError: There is no program, it is damaged, or it was compiled for another GPU or library.
        """
        key = self.checked_key(directory)
        return TorchTrtEngine(_loaded(directory / PROGRAM), key["batch_shapes"])


class TorchTrtEngine(RangedEngine):
    """A compiled network on the GPU."""

    def __init__(self, network: Callable[..., Any], shapes: Sequence[Sequence[int]]) -> None:
        library = importlib.import_module("torch_tensorrt")
        super().__init__(network, f"Torch-TensorRT {library.__version__}", shapes)

    def _infer(self, inputs: Inputs, timer: GpuTimer | None = None) -> Outputs:
        import torch

        network = self._opened()
        with torch.inference_mode():
            images = torch.from_numpy(np.array(inputs[IMAGE])).to(DEVICE)
            with timer or nullcontext():
                answer = network(images)
            return {LOGITS: answer.cpu().numpy()}


def _traced(
    request: BuildRequest, shapes: Sequence[Sequence[int]]
) -> tuple[torch.export.ExportedProgram, torch.Tensor]:
    """Trace a copy of the network in its precision on the GPU, its batch free within the range."""
    import torch

    dtype = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}[request.precision]
    network = _typed(copy.deepcopy(request.network).to(DEVICE, dtype), dtype)
    smallest, largest = shapes[0][0], shapes[2][0]
    count = max(smallest, min(2, largest))  # torch.export makes a batch of one a constant
    example = torch.zeros((count, *shapes[0][1:]), device=DEVICE)
    free = {0: torch.export.Dim("batch", min=smallest, max=largest)} if smallest < largest else None
    with torch.no_grad():
        return torch.export.export(network.eval(), (example,), dynamic_shapes=(free,), strict=False), example


def _typed(network: nn.Module, dtype: torch.dtype) -> nn.Module:
    import torch
    from torch import nn

    class Typed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.network = network

        def forward(self, image: torch.Tensor) -> torch.Tensor:
            logits: torch.Tensor = self.network(image.to(dtype))
            return logits.to(torch.float32)

    return Typed()


def _compile(
    library: ModuleType, program: torch.export.ExportedProgram, kept: Path, options: dict[str, Any]
) -> nn.Module:
    """Compile with the checked timings of earlier builds, which Torch-TensorRT itself would not check."""
    with tempfile.TemporaryDirectory(prefix="lorkit-") as folder:
        timings = Path(folder) / "timings"
        if known := read_timings(kept):
            timings.write_bytes(known)
        try:
            compiled: nn.Module = library.dynamo.compile(program, timing_cache_path=str(timings), **options)
        except (RuntimeError, ValueError, AssertionError, NotImplementedError) as error:
            reason = " ".join(str(error).split())[:200] or type(error).__name__
            raise UsageError(
                f"Torch-TensorRT cannot compile the network ({reason})",
                required="operators that it supports",
                fix="change the backbone, or use --target onnx",
            ) from None
        if timings.is_file():
            write_timings(kept, timings.read_bytes())
    return compiled


def _options(library: ModuleType, request: BuildRequest, shapes: Sequence[Sequence[int]]) -> dict[str, Any]:
    import torch

    settings = request.profile.engine
    smallest, tuned, largest = (tuple(shape) for shape in shapes)
    options = {
        "arg_inputs": [
            library.Input(min_shape=smallest, opt_shape=tuned, max_shape=largest, dtype=torch.float32, name="image")
        ],
        "device": DEVICE,
        "min_block_size": 1,
        "disable_tf32": not settings.tf32,
        "workspace_size": (settings.workspace_mib or 0) * 2**20,  # 0: its own limit
        "version_compatible": settings.version_compatible,
        "hardware_compatible": settings.hardware_compatible,
        "immutable_weights": not settings.refit,
    }
    if "use_explicit_typing" in inspect.signature(library.dynamo.compile).parameters:
        options["use_explicit_typing"] = True
    return options


def _loaded(path: Path) -> Callable[..., Any]:
    import torch

    try:
        # its digest is checked; importing Torch-TensorRT, as `available` did, registers its operators
        return torch.export.load(path).module()
    except (RuntimeError, ValueError, KeyError, OSError, EOFError, zipfile.BadZipFile, pickle.UnpicklingError) as error:
        raise ArtifactError(
            f"torch cannot load {path} ({' '.join(str(error).split())[:160]})",
            required="an intact program",
            fix="export it again with --force",
        ) from None


def _minor(version: str) -> list[str]:
    return str(version).split(".")[:2]


TARGET = TorchTrtTarget()
