"""Run an engine of TensorRT or TensorRT-RTX on the GPU: one context with torch tensors as buffers.

Shapes: N batch, C channels, further axes are space.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lorkit.decompose.errors import ArtifactError, MissingRuntimeError
from lorkit.export.targets.base import (
    MODEL,
    Availability,
    BatchTimer,
    Engine,
    Inputs,
    Outputs,
    batches,
    joined,
    shapes_of,
)
from lorkit.export.targets.gpu_timer import GpuTimer, device_ms
from lorkit.export.targets.inference_limits import within_limits
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

    def infer(self, inputs: Inputs) -> Outputs:
        """Return all outputs of a batch of any size by name."""
        with within_limits(inputs):
            return in_range(self._infer, inputs, *self._range)

    @property
    def device_timer(self) -> BatchTimer:
        """Function that returns the GPU's milliseconds for a batch."""
        return lambda inputs: device_ms(self._infer, (full for full, _ in parts(inputs, *self._range)), self._stream)

    @abstractmethod
    def _infer(self, inputs: Inputs, timer: GpuTimer | None = None) -> Outputs:
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
        kinds = (tensorrt.DataType.FLOAT, tensorrt.DataType.INT64)
        odd = [one for one in names if engine.get_tensor_dtype(one) not in kinds]
        is_input = {one: engine.get_tensor_mode(one) == tensorrt.TensorIOMode.INPUT for one in names}
        if odd or not {True, False} <= set(is_input.values()):
            raise _refused(directory, f"its inputs and outputs are {', '.join(odd or names)}")
        self._outputs = [one for one in names if not is_input[one]]
        context = engine.create_execution_context()
        if context is None:
            raise _refused(directory, f"{provider} creates no execution context for it")
        super().__init__(context, provider, key["batch_shapes"])
        self._engine = engine
        self._stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]

    def _infer(self, inputs: Inputs, timer: GpuTimer | None = None) -> Outputs:
        torch, context = self._torch, self._opened()
        with torch.cuda.stream(self._stream):
            sources = {name: torch.from_numpy(np.ascontiguousarray(one)).to(DEVICE) for name, one in inputs.items()}
            if not all([context.set_input_shape(name, tuple(one.shape)) for name, one in sources.items()]):
                raise ArtifactError(
                    f"{self.provider} refuses a batch of {shapes_of(inputs)}",
                    required="a shape that the engine was built for",
                    fix="export it again with --force",
                )
            results = {
                name: torch.empty(tuple(context.get_tensor_shape(name)), device=DEVICE) for name in self._outputs
            }
            for name, tensor in (sources | results).items():
                context.set_tensor_address(name, tensor.data_ptr())
            with timer or nullcontext():
                started = context.execute_async_v3(self._stream.cuda_stream)
            if not started:
                raise ArtifactError(
                    f"{self.provider} refused to run a batch", required="an intact engine", fix="export again"
                )
        self._stream.synchronize()
        return {name: tensor.cpu().numpy() for name, tensor in results.items()}

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


def in_range(run: Callable[[Inputs], Outputs], inputs: Inputs, smallest: int, largest: int) -> Outputs:
    """Run a batch in parts of `smallest` to `largest`, padded with its last image."""
    results = [
        {name: values[:count] for name, values in run(full).items()} for full, count in parts(inputs, smallest, largest)
    ]
    return results[0] if len(results) == 1 else joined(results)


def parts(inputs: Inputs, smallest: int, largest: int) -> Iterator[tuple[Inputs, int]]:
    """Yield the parts of a batch for an engine of `smallest` to `largest`, and the number of images in each."""
    for _, part in batches(inputs, largest):
        count = len(next(iter(part.values())))
        lacking = max(0, smallest - count)
        yield ({name: _padded(values, lacking) for name, values in part.items()} if lacking else part), count


def _padded(values: NDArray[Any], lacking: int) -> NDArray[Any]:
    return np.concatenate([values, np.repeat(values[-1:], lacking, axis=0)])


def _refused(directory: Path, reason: str) -> ArtifactError:
    return ArtifactError(
        f"{directory / ENGINE} cannot be used: {reason}",
        required="an engine that was built for this machine",
        fix="export it here with --force",
    )
