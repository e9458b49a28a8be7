"""Costs of arithmetic, memory and calls on a kind of device: the constants of the cost model.

Those of the CPU were fitted to forward and backward times of ResNet layers at 64 x 64, one AVX-512 thread, float32
(benchmarks/experts.py --layers compares the choice with the measured optimum). Those of CUDA are data-sheet figures,
not measurements: expensive launches and cheap arithmetic favour few large calls.
"""

from __future__ import annotations

from dataclasses import dataclass

from lorkit.decompose.experts.strategies.geometry import Workload


@dataclass(frozen=True, kw_only=True)
class DeviceCosts:
    """Seconds per unit on one thread or device.

    Attributes:
        mac: A multiply-accumulate of a large product.
        narrow_mac: A multiply-accumulate of a convolution to few channels, which does not fill vectors.
        passed: An element of a feature map read or written once more, in forward and backward.
        copied: An element copied between feature maps, in forward and backward.
        shuffled: An element of the taps, written, moved and read.
        factor: An element of stacked factors.
        merged: An element of merged weights: built, used, and its gradient split.
        call: A kernel call.
        threads: Number that divides all work except calls.
    """

    mac: float
    narrow_mac: float
    passed: float
    copied: float
    shuffled: float
    factor: float
    merged: float
    call: float
    threads: int = 1

    def time(
        self,
        *,
        macs: float = 0,
        narrow_macs: float = 0,
        passed: float = 0,
        copied: float = 0,
        shuffled: float = 0,
        factors: float = 0,
        merged: float = 0,
        calls: float = 0,
    ) -> float:
        """Return the seconds of these numbers of units."""
        work = macs * self.mac + narrow_macs * self.narrow_mac + passed * self.passed + copied * self.copied
        work += shuffled * self.shuffled + factors * self.factor + merged * self.merged
        return work / self.threads + calls * self.call


_CPU = DeviceCosts(
    mac=2.9e-11, narrow_mac=5.7e-11, passed=1.2e-9, copied=0.8e-9, shuffled=2e-9, factor=4e-9, merged=6.5e-9, call=6e-6
)
_CUDA = DeviceCosts(
    mac=5e-14, narrow_mac=4e-13, passed=8e-12, copied=1.6e-11, shuffled=1.6e-11, factor=1.6e-11, merged=3e-11, call=8e-6
)


def of(workload: Workload) -> DeviceCosts:
    """Return the costs of a workload's device."""
    if workload.device == "cuda":
        return _CUDA
    return DeviceCosts(**{**_CPU.__dict__, "threads": workload.threads})
