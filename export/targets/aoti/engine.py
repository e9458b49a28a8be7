"""Run networks compiled with AOTInductor.

Threads: PyTorch has one number of threads per process. An engine with a number sets it before it runs; when the last
such engine is closed, the original number is restored. ONNX Runtime and OpenVINO have their own pools and are not
affected; torch networks in the same process are.

A call holds Python's lock (PyTorch 2.13), so no thread can end it: limits and signals take effect when it returns.
"""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

import numpy as np

from lorkit.decompose.artifacts.arrays import Float32Array
from lorkit.decompose.documents.heads import IMAGE
from lorkit.decompose.errors import ArtifactError, first_line
from lorkit.export.targets.base import BatchTimer, SingleEngine
from lorkit.export.targets.gpu_timer import GpuTimer, device_ms
from lorkit.export.targets.host_note import EngineRequirements
from lorkit.export.targets.inference_limits import within_limits

CPU, CUDA = "cpu", "cuda"
FIX = "export it here with `decompose export --target aoti --force`"


class _Threads:
    """The process's number of torch threads, set by engines and restored after the last of them."""

    def __init__(self) -> None:
        self._engines = self._before = 0

    def take(self) -> None:
        import torch

        if self._engines == 0:
            self._before = torch.get_num_threads()
        self._engines += 1

    def put_back(self) -> None:
        self._engines -= 1
        if self._engines == 0:
            set_threads(self._before)


_THREADS = _Threads()


class AotiEngine(SingleEngine):
    """Compiled code with one input and one output.

    Its provider is PyTorch's version, the device with its capability, and the precision of the code.
    """

    def __init__(self, compiled: Any, note: AotiRequirements, *, threads: int | None) -> None:
        where = note.gpu.get("name") or f"CPU {note.host['capability']}"
        super().__init__(compiled, f"AOTInductor {note.torch} {where} {note.precision}")
        self._shape, self._device, self._threads = tuple(note.shape), note.device, threads
        # a GPU rounds fp32 convolutions to TF32 unless told not to
        self._exact = note.device == CUDA and note.precision == "fp32"
        if threads is not None:
            _THREADS.take()

    @property
    def device_timer(self) -> BatchTimer | None:
        """Function that returns the GPU's milliseconds for a batch; None on a CPU."""
        return (lambda inputs: device_ms(self.run, [inputs[IMAGE]])) if self._device == CUDA else None

    def run(self, batch: Float32Array, timer: GpuTimer | None = None) -> Float32Array:
        """Return the logits (N, classes) of a batch (N, C, *spatial)."""
        import torch

        compiled = self._opened()
        if batch.dtype != np.float32 or tuple(batch.shape[1:]) != self._shape:
            raise ArtifactError(
                f"the engine cannot take a batch of shape {tuple(batch.shape)} and dtype {batch.dtype}",
                required=f"(N, {', '.join(str(side) for side in self._shape)}) float32",
                fix="prepare images with the export's recipe",
            )
        if self._threads is not None:
            set_threads(self._threads)
        # torch warns of read-only arrays, and the code assumes contiguous rows
        source = np.require(batch, requirements=("C", "W") if batch.flags.writeable else ("C",))
        source = source if source.flags.writeable else source.copy()
        exact = torch.backends.cudnn.flags(allow_tf32=False) if self._exact else nullcontext()
        try:
            with within_limits({IMAGE: source}), exact:
                images = torch.from_numpy(source).to(self._device)
                with timer or nullcontext():
                    answer = compiled(images)
                logits: Float32Array = answer.cpu().numpy()
        except RuntimeError as error:
            raise ArtifactError(
                f"the compiled network fails on {len(batch)} images ({first_line(error)})",
                required="an intact engine and enough memory",
                fix=FIX,
            ) from None
        return logits

    def close(self) -> None:
        """Unload the code; the last engine with a number of threads restores that of the process."""
        if self._network is not None and self._threads is not None:
            _THREADS.put_back()
        super().close()


def set_threads(count: int) -> None:
    """Set the process's number of torch threads if it differs: setting it drops oneDNN's cached kernels."""
    import torch

    if torch.get_num_threads() != count:
        torch.set_num_threads(count)


class AotiRequirements(EngineRequirements):
    """Requirements of the code.

    Attributes:
        torch: PyTorch's version with its build, such as `2.13.0+cpu`.
        device: `cpu` or `cuda`.
        host: Platform, and the capability that PyTorch's kernels use on the CPU.
        flags: Instruction sets of the CPU, all of which the code may use.
        gpu: Name and compute capability of the GPU; empty for a CPU.
        shape: (C, *spatial) of one image.
    """

    torch: str
    device: str
    host: dict[str, str]
    flags: list[str]
    gpu: dict[str, str]
    shape: list[int]
