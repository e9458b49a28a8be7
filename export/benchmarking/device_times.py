"""What the GPU itself takes for a batch: two events on the stream that the network runs on.

The copies to and from the host are outside of the events, and waiting for the host between two kernels is inside. The
host's clock, which covers all of it, stays what engines are compared by.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from lorkit.export.benchmarking.interleaving import Arm, Images

if TYPE_CHECKING:
    from lorkit.export.targets.base import Engine

Timer = Callable[[Images], float]
_GPU_WORDS = ("cuda", "tensorrt")


class Watch:
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


def device_ms(run: Callable[[Images, Watch], object], batches: Iterable[Images], stream: Any = None) -> float:
    """Return what a GPU takes for some batches in turn.

    Args:
        run: Runs a batch and has the watch running while the network does.
        batches: What it runs.
        stream: What the network runs on; PyTorch's current stream by default.
    """
    total = 0.0
    for batch in batches:
        watch = Watch(stream)
        run(batch, watch)
        total += watch.milliseconds()
    return total


def timer_of(engine: Engine) -> Timer | None:
    """Return what times an engine's batches on its GPU; None where it has none."""
    from lorkit.export.targets.base import DeviceTimed  # importing the targets imports this module

    return engine.device_timer if isinstance(engine, DeviceTimed) else None


def device_times(
    engines: Sequence[Engine],
    arms: Sequence[Arm],
    cycles: int,
    *,
    seed: int,
    seconds: float,
    clock: Callable[[], float] = time.perf_counter,
) -> list[dict[str, Any]]:
    """Time warm engines on their GPU, in turns whose order is drawn anew; return the fields of each one's row.

    Args:
        engines: Those that are measured.
        arms: Their inputs.
        cycles: Samples of each.
        seed: Draws the orders.
        seconds: No cycle but the first begins after them.
        clock: Seconds, monotonic.
    """
    deadline, generator = clock() + seconds, np.random.default_rng(seed)
    timers = [timer_of(engine) for engine in engines]
    timed = [(index, timer) for index, timer in enumerate(timers) if timer is not None]
    samples: dict[int, list[float]] = {index: [] for index, _ in timed}
    for cycle in range(cycles if timed else 0):
        if cycle and clock() >= deadline:
            break
        for turn in generator.permutation(len(timed)):
            index, timer = timed[turn]
            inputs = arms[index].inputs
            samples[index].append(round(timer(inputs[cycle % len(inputs)]), 6))
    return [_fields(samples.get(index), engine.provider) for index, engine in enumerate(engines)]


def _fields(samples: list[float] | None, provider: str) -> dict[str, Any]:
    if samples is not None:
        return {"device_median_ms": float(np.median(samples)), "device_samples_ms": samples, "device_note": None}
    on_gpu = any(word in provider.lower() for word in _GPU_WORDS)
    why = "it keeps its stream to itself" if on_gpu else "it runs on the CPU"
    return {"device_median_ms": None, "device_samples_ms": None, "device_note": f"{provider}: {why}"}
