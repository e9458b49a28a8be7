"""What the GPU itself takes for a batch: two events on the stream that the network runs on.

The copies to and from the host are outside of the events, and waiting for the host between two kernels is inside. The
host's clock, which covers all of it, stays what engines are compared by.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from types import TracebackType
from typing import Any, Self

from lorkit.decompose.artifacts.arrays import Float32Array
from lorkit.export.targets.base import DeviceTimed, Engine

BatchTimer = Callable[[Float32Array], float]


class GpuTimer:
    """Milliseconds that a CUDA stream spends on what is put on it inside of the block."""

    def __init__(self, stream: Any = None) -> None:
        import torch

        self._stream = torch.cuda.current_stream() if stream is None else stream
        self._begin, self._end = (
            torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
            for _ in range(2)
        )

    def __enter__(self) -> Self:
        """Put the first event on the stream."""
        self._begin.record(self._stream)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Put the second event on the stream."""
        self._end.record(self._stream)

    def milliseconds(self) -> float:
        """Wait for the second event and return the time since the first."""
        self._end.synchronize()
        return float(self._begin.elapsed_time(self._end))


def device_ms(
    run: Callable[[Float32Array, GpuTimer], object], batches: Iterable[Float32Array], stream: Any = None
) -> float:
    """Return what a GPU takes for some batches in turn.

    Args:
        run: Runs a batch and has the timer running while the network does.
        batches: What it runs.
        stream: What the network runs on; PyTorch's current stream by default.
    """
    total = 0.0
    for batch in batches:
        timer = GpuTimer(stream)
        run(batch, timer)
        total += timer.milliseconds()
    return total


def timer_of(engine: Engine) -> BatchTimer | None:
    """Return what times an engine's batches on its GPU; None where it has none."""
    return engine.device_timer if isinstance(engine, DeviceTimed) else None
