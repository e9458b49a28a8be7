"""NVIDIA TensorRT, written against what TensorRT 10.12 and 11 share.

TensorRT 11 has no weakly typed networks and no precision flags: the network is strongly typed and the precision is
that of the ONNX file. An engine runs only on the GPU, driver and TensorRT it was built with, so its key names all
three and loading compares them.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from lorkit.decompose.artifacts import digest_file, digest_json, read_json, write_bytes, write_json
from lorkit.decompose.errors import ArtifactError, MissingRuntimeError, UsageError
from lorkit.decompose.machine import fingerprint
from lorkit.export.targets.base import MODEL, Availability, Blueprint, Floats, missing

if TYPE_CHECKING:
    from lorkit.profiles import Profile

MINIMUM = (10, 12)
BELOW = 12
ENGINE, KEY = "model.engine", "engine.json"
INSTALL = "pip install 'tensorrt>=10.12,<12' --extra-index-url https://pypi.nvidia.com, on a machine with an NVIDIA GPU"


class TrtTarget:
    """The `trt` target."""

    name: ClassVar[str] = "trt"
    runtime: ClassVar[str] = "TensorRT >=10.12,<12 and an NVIDIA GPU"
    precisions: ClassVar[Mapping[str, str]] = {"fp32": "fp32", "fp16": "fp16", "bf16": "bf16", "int8": "int8"}
    quantization: ClassVar[str] = "symmetric"
    built_from: ClassVar[str] = "onnx"

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
        return Availability(True)

    def fingerprint(self) -> str:
        """Return a digest of TensorRT, GPU and driver; empty where no engine can be built."""
        return digest_json(_surroundings(_tensorrt())) if self.available().ok else ""

    def build(self, blueprint: Blueprint) -> Path:
        """Parse the ONNX file into a strongly typed network and write its engine and the engine's key.

        Raises:
            MissingRuntimeError: TensorRT or a GPU is not here.
            UsageError: TensorRT's parser or builder refuses the network; its own words are in the message.
        """
        if not self.available().ok:
            raise missing(self)
        tensorrt = _tensorrt()
        logger = tensorrt.Logger(tensorrt.Logger.ERROR)
        builder = tensorrt.Builder(logger)
        network = builder.create_network(_strongly_typed(tensorrt))
        _parse(tensorrt.OnnxParser(network, logger), blueprint.onnx_path)
        config = builder.create_builder_config()
        batch, directory = blueprint.profile.batch, blueprint.directory
        bounds = [(count, *blueprint.shape) for count in (batch.min, batch.opt, batch.max)]
        ranges = builder.create_optimization_profile()
        ranges.set_shape(network.get_input(0).name, *bounds)
        config.add_optimization_profile(ranges)
        plan = builder.build_serialized_network(network, config)
        if plan is None:
            raise UsageError(
                f"TensorRT {tensorrt.__version__} built no engine of {blueprint.onnx_path.name}",
                required="a network that it supports",
                fix="see its log above",
            )
        write_bytes(directory / ENGINE, bytes(plan))
        write_json(directory / KEY, engine_key(blueprint.onnx_path, _surroundings(tensorrt), bounds))
        return directory / ENGINE

    def load(self, directory: Path, *, threads: int | None = None) -> TrtEngine:
        """Deserialise the engine on the GPU that it was built for.

        Raises:
            MissingRuntimeError: TensorRT or a GPU is not here.
            ArtifactError: There is no engine, or it was built for another GPU, driver or TensorRT.
        """
        del threads  # a GPU engine has no CPU threads of its own
        if not self.available().ok:
            raise missing(self)
        tensorrt = _tensorrt()
        path = directory / ENGINE
        if not path.is_file():
            raise ArtifactError(
                f"{directory} holds no {ENGINE}: it was exported where TensorRT is absent",
                required="an engine built on this machine",
                fix="export it here with `decompose export --target trt --force`",
            )
        key = read_json(directory / KEY)
        expected = engine_key(directory / MODEL, _surroundings(tensorrt), key.get("batch_shapes", []))
        changed = [name for name, value in expected.items() if key.get(name) != value and name != "key"]
        if changed:
            raise ArtifactError(
                f"{path} was built for another {', '.join(changed)} ({key.get(changed[0])})",
                required=f"{changed[0]} {expected[changed[0]]}",
                fix="export it here with `decompose export --target trt --force`",
            )
        return TrtEngine(tensorrt, path, shapes=key["batch_shapes"])


class TrtEngine:
    """An execution context whose buffers are torch tensors on the GPU."""

    def __init__(self, tensorrt: ModuleType, path: Path, *, shapes: Sequence[Sequence[int]]) -> None:
        import torch  # device memory: torch is the one GPU allocator that lorkit always has

        if not torch.cuda.is_available():
            raise MissingRuntimeError(
                "this torch sees no CUDA device", required="a CUDA build of torch", fix="install one beside TensorRT"
            )
        runtime = tensorrt.Runtime(tensorrt.Logger(tensorrt.Logger.ERROR))
        engine = runtime.deserialize_cuda_engine(path.read_bytes())
        if engine is None:
            raise ArtifactError(
                f"TensorRT {tensorrt.__version__} refuses {path}",
                required="an engine built on this machine",
                fix="export it here with `decompose export --target trt --force`",
            )
        self._torch, self._engine = torch, engine
        self._context: Any = engine.create_execution_context()
        self._names = [engine.get_tensor_name(index) for index in range(engine.num_io_tensors)]
        self._stream: Any = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        self._largest = int(shapes[2][0])
        self.provider = f"TensorRT {tensorrt.__version__}"

    def run(self, batch: Floats) -> Floats:
        """Return the logits (N, classes) of a batch (N, C, *spatial); larger batches than it was built for are cut."""
        parts = [self._run(batch[start : start + self._largest]) for start in range(0, len(batch), self._largest)]
        return parts[0] if len(parts) == 1 else np.concatenate(parts)

    def _run(self, batch: Floats) -> Floats:
        if self._context is None:
            raise ArtifactError("the engine is closed", required="an open engine", fix="load it again")
        torch, (image, logits) = self._torch, self._names
        with torch.cuda.stream(self._stream):
            source = torch.from_numpy(np.ascontiguousarray(batch)).cuda()
            self._context.set_input_shape(image, tuple(source.shape))
            result = torch.empty(tuple(self._context.get_tensor_shape(logits)), device="cuda")
            self._context.set_tensor_address(image, source.data_ptr())
            self._context.set_tensor_address(logits, result.data_ptr())
            if not self._context.execute_async_v3(self._stream.cuda_stream):
                raise ArtifactError("TensorRT refused to run a batch", required="an intact engine", fix="export again")
        self._stream.synchronize()
        values: Floats = result.cpu().numpy()
        return values

    def close(self) -> None:
        """Release the context, then the engine."""
        self._context = None
        self._engine = None


def engine_key(onnx_path: Path, surroundings: Mapping[str, str], shapes: Sequence[Sequence[int]]) -> dict[str, Any]:
    """Return what identifies an engine, with a digest of it all: ONNX, TensorRT, GPU, driver and batch shapes."""
    parts = {"onnx": digest_file(onnx_path), **surroundings, "batch_shapes": [list(shape) for shape in shapes]}
    return {**parts, "key": digest_json(parts)}


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


def _release(version: str) -> tuple[int, int]:
    major, minor, *_ = [*version.split("."), "0"]
    return int(major), int(minor)


def _strongly_typed(tensorrt: ModuleType) -> int:
    """Return the creation flag: required by TensorRT 10; 11 knows no other kind and may drop the name."""
    flag = getattr(tensorrt.NetworkDefinitionCreationFlag, "STRONGLY_TYPED", None)
    return 0 if flag is None else 1 << int(flag)


def _parse(parser: Any, onnx_path: Path) -> None:
    if not parser.parse_from_file(str(onnx_path)):
        reasons = [str(parser.get_error(index).desc()) for index in range(parser.num_errors)]
        raise UsageError(
            f"TensorRT's parser refuses {onnx_path.name}: {'; '.join(reasons) or 'no reason given'}",
            required="operators that it supports",
            fix="change the backbone, or use --target onnx",
        )


TARGET = TrtTarget()
