"""Seconds of the stages of a prediction: reading, resampling, windows, network, blending, decoding, writing."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator

STAGES = ("read", "resample", "windows", "network", "blend", "inverse_resample", "argmax", "write")
"""From file to mask. `resample` includes the intensity, `inverse_resample` the probabilities, `argmax` the decoding of
structures that may overlap."""


class StageTimes:
    """Seconds by stage; a stage that runs several times adds up.

    Args:
        clock: Seconds, monotonic.
    """

    def __init__(self, clock: Callable[[], float] = time.perf_counter) -> None:
        self._clock = clock
        self.seconds: dict[str, float] = dict.fromkeys(STAGES, 0.0)

    @contextlib.contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Add the time of the block to a stage."""
        begin = self._clock()
        try:
            yield
        finally:
            self.seconds[name] += self._clock() - begin
