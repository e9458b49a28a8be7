"""GPU time of a batch: two events on the stream of the network.

Copies to and from the host are not included; waiting for the host between two kernels is. Engines are compared by the
host's clock, which covers everything.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Self, TypeVar

Batch = TypeVar("Batch")


def on_gpu(provider: str) -> bool:
    """Return whether a provider runs on a GPU, by its name."""
    return any(word in provider.lower() for word in ("cuda", "tensorrt"))


class GpuTimer:
    """Milliseconds that a CUDA stream spends on the work of the block."""

    def __init__(self, stream: Any = None) -> None:
        import torch

        self._stream = torch.cuda.current_stream() if stream is None else stream
        self._begin, self._end = (
            torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
            for _ in range(2)
        )

    def __enter__(self) -> Self:
        self._begin.record(self._stream)
        return self

    def __exit__(self, *error: object) -> None:
        self._end.record(self._stream)

    def milliseconds(self) -> float:
        """Wait for the second event and return the time since the first."""
        self._end.synchronize()
        return float(self._begin.elapsed_time(self._end))


def device_ms(run: Callable[[Batch, GpuTimer], object], batches: Iterable[Batch], stream: Any = None) -> float:
    """Return the GPU time of some batches.

    Args:
        run: Runs a batch, with the timer around the network.
        batches: The batches.
        stream: Stream of the network; PyTorch's current stream by default.
    """
    total = 0.0
    for batch in batches:
        timer = GpuTimer(stream)
        run(batch, timer)
        total += timer.milliseconds()
    return total
