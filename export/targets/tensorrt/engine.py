"""Run an engine of TensorRT or TensorRT-RTX on the GPU: one context with torch tensors as buffers.

Shapes: N batch, C channels, further axes are space; an engine maps (N, C, *spatial) to (N, classes).
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from lorkit.decompose.artifacts.arrays import Float32Array
from lorkit.decompose.errors import ArtifactError, MissingRuntimeError
from lorkit.export.targets.base import MODEL, Availability, BatchTimer, Engine
from lorkit.export.targets.gpu_timer import GpuTimer, device_ms
from lorkit.export.targets.tensorrt.building import ENGINE

DEVICE = "cuda"
NO_CUDA_TORCH = "this torch sees no CUDA device"
NO_CUDA_BUILD = Availability.only_built(NO_CUDA_TORCH, "install a CUDA build of torch")


class RangedEngine(Engine):
    """An engine on the GPU; batches outside of its range are padded or split.

    Args:
        network: The network as loaded by the runtime.
        provider: The provider that runs it.
        shapes: (N, C, *spatial) at the smallest, tuned and largest batch.
    """

    _stream: Any = None
    """Its stream; default PyTorch's current stream."""

    def __init__(self, network: Any, provider: str, shapes: Sequence[Sequence[int]]) -> None:
        super().__init__(network, provider)
        self._range = (int(shapes[0][0]), int(shapes[2][0]))

    def run(self, batch: Float32Array) -> Float32Array:
        """Return the logits (N, classes) of a batch (N, C, *spatial) of any size."""
        return in_range(self._run, batch, *self._range)

    @property
    def device_timer(self) -> BatchTimer:
        """Function that returns the GPU's milliseconds for a batch."""
        return lambda batch: device_ms(self._run, (full for full, _ in parts(batch, *self._range)), self._stream)

    @abstractmethod
    def _run(self, batch: Float32Array, timer: GpuTimer | None = None) -> Float32Array:
        """Run a batch within the range, with the timer around the network."""


class TensorrtEngine(RangedEngine):
    """An engine of TensorRT or TensorRT-RTX."""

    def __init__(self, tensorrt: ModuleType, directory: Path, key: Mapping[str, Any], *, name: str) -> None:
        import torch  # for device memory

        if not sees_gpu():
            raise MissingRuntimeError(NO_CUDA_TORCH, required="a CUDA build of torch", fix=f"install one beside {name}")
        provider = f"{name} {tensorrt.__version__}"
        self._torch = torch
        engine: Any = deserialize(tensorrt, directory, key, provider)
        names = [engine.get_tensor_name(index) for index in range(engine.num_io_tensors)]
        odd = [item for item in names if engine.get_tensor_dtype(item) != tensorrt.DataType.FLOAT]
        if odd or len(names) != 2:
            raise _refused(directory, f"its inputs and outputs are {', '.join(odd or names)}")
        self._names = sorted(names, key=lambda item: engine.get_tensor_mode(item) != tensorrt.TensorIOMode.INPUT)
        context = engine.create_execution_context()
        if context is None:
            raise _refused(directory, f"{provider} creates no execution context for it")
        super().__init__(context, provider, key["batch_shapes"])
        self._engine = engine
        self._stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]

    def _run(self, batch: Float32Array, timer: GpuTimer | None = None) -> Float32Array:
        torch, context, (image, logits) = self._torch, self._opened(), self._names
        with torch.cuda.stream(self._stream):
            source = torch.from_numpy(np.ascontiguousarray(batch)).to(DEVICE)
            if not context.set_input_shape(image, tuple(source.shape)):
                raise ArtifactError(
                    f"{self.provider} refuses a batch of shape {tuple(source.shape)}",
                    required="a shape that the engine was built for",
                    fix="export it again with --force",
                )
            result = torch.empty(tuple(context.get_tensor_shape(logits)), device=DEVICE)
            context.set_tensor_address(image, source.data_ptr())
            context.set_tensor_address(logits, result.data_ptr())
            with timer or nullcontext():
                started = context.execute_async_v3(self._stream.cuda_stream)
            if not started:
                raise ArtifactError(
                    f"{self.provider} refused to run a batch", required="an intact engine", fix="export again"
                )
        self._stream.synchronize()
        values: Float32Array = result.cpu().numpy()
        return values

    def close(self) -> None:
        """Release the context, then the engine."""
        super().close()
        self._engine = None


def sees_gpu() -> bool:
    """Return whether torch, which owns an engine's buffers, sees a GPU."""
    import torch

    return torch.cuda.is_available()


def deserialize(tensorrt: ModuleType, directory: Path, key: Mapping[str, Any], provider: str) -> Any:
    """Read an engine onto the GPU, with weights from the ONNX file if it was built without.

    Raises:
        ArtifactError: The file is missing, damaged or of another runtime or GPU.
    """
    settings = key.get("settings", {})
    logger = tensorrt.Logger(tensorrt.Logger.ERROR)
    runtime = tensorrt.Runtime(logger)
    if settings.get("version_compatible"):
        runtime.engine_host_code_allowed = True  # the engine contains its runtime
    engine = runtime.deserialize_cuda_engine((directory / ENGINE).read_bytes())
    if engine is None:
        raise _refused(directory, f"{provider} does not read it")
    if settings.get("strip"):
        refitter = tensorrt.Refitter(engine, logger)
        parser = tensorrt.OnnxParserRefitter(refitter, logger)
        if not (parser.refit_from_file(str(directory / MODEL)) and refitter.refit_cuda_engine()):
            raise _refused(directory, f"it takes no weights from {MODEL}")
    return engine


def in_range(
    run: Callable[[Float32Array], Float32Array], batch: Float32Array, smallest: int, largest: int
) -> Float32Array:
    """Run a batch (N, ...) in parts of `smallest` to `largest`, padded with its last image."""
    results = [run(full)[:count] for full, count in parts(batch, smallest, largest)]
    return results[0] if len(results) == 1 else np.concatenate(results)


def parts(batch: Float32Array, smallest: int, largest: int) -> Iterator[tuple[Float32Array, int]]:
    """Yield the parts of a batch for an engine of `smallest` to `largest`, and the number of images in each."""
    for start in range(0, len(batch), largest):
        part = batch[start : start + largest]
        lacking = max(0, smallest - len(part))
        yield np.concatenate([part, np.repeat(part[-1:], lacking, axis=0)]) if lacking else part, len(part)


def _refused(directory: Path, reason: str) -> ArtifactError:
    return ArtifactError(
        f"{directory / ENGINE} cannot be used: {reason}",
        required="an engine that was built for this machine",
        fix="export it here with --force",
    )
