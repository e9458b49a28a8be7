"""The geometry of one adapted layer, a forward pass of it, and the costs of devices: strategies are chosen by them."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Literal

from torch import nn

from lorkit.decompose.config.methods import FactorLayout
from lorkit.decompose.experts.algebra import TRANSPOSED, Base

Kind = Literal["linear", "conv", "transposed"]
Sizes = tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class LayerGeometry:
    """The geometry of one layer and the rank of its experts, without weights.

    Attributes:
        kind: Linear, convolution or transposed convolution.
        layout: Layout of the factors.
        inputs: Input channels.
        outputs: Output channels.
        kernel: Taps along each spatial axis; empty for linear layers.
        stride: Stride along each spatial axis.
        before: Zeros before each spatial axis.
        padding: Zeros before and after together.
        dilation: Distance of taps.
        extra: Output padding of transposed convolutions.
        groups: Groups of the base.
        zeros: Whether the border is padded with zeros (or not at all).
        rank: The highest of the regions' ranks.
    """

    kind: Kind
    layout: FactorLayout
    inputs: int
    outputs: int
    rank: int
    kernel: Sizes = ()
    stride: Sizes = ()
    before: Sizes = ()
    padding: Sizes = ()
    dilation: Sizes = ()
    extra: Sizes = ()
    groups: int = 1
    zeros: bool = True

    @classmethod
    def of(cls, base: Base, layout: FactorLayout, rank: int) -> LayerGeometry:
        """Return the geometry of a layer."""
        if isinstance(base, nn.Linear):
            return cls(kind="linear", layout=layout, inputs=base.in_features, outputs=base.out_features, rank=rank)
        kernel, dilation = tuple(base.kernel_size), tuple(base.dilation)
        if isinstance(base.padding, str):
            reach = tuple(d * (k - 1) for d, k in zip(dilation, kernel, strict=True))
            padding = reach if base.padding == "same" else (0,) * len(kernel)
            before = tuple(total // 2 for total in padding)  # torch adds an odd zero at the end
        else:
            before = tuple(base.padding)
            padding = tuple(2 * one for one in before)
        return cls(
            kind="transposed" if type(base) in TRANSPOSED else "conv",
            layout=layout,
            inputs=base.in_channels,
            outputs=base.out_channels,
            rank=rank,
            kernel=kernel,
            stride=tuple(base.stride),
            before=before,
            padding=padding,
            dilation=dilation,
            extra=tuple(base.output_padding),
            groups=base.groups,
            zeros=base.padding_mode == "zeros",
        )

    @property
    def taps(self) -> int:
        """Number of positions of the kernel."""
        return math.prod(self.kernel)

    @property
    def pointwise(self) -> bool:
        """Whether each output depends on one position of the input: a linear layer, or a 1 x 1 convolution."""
        return self.kind == "linear" or (self.kind == "conv" and self.taps == 1 and not any(self.padding))

    def spatial(self, shape: Sizes) -> Sizes:
        """Return the spatial sizes of an input; for linear layers all axes between rows and channels."""
        return tuple(shape[1:-1]) if self.kind == "linear" else tuple(shape[2:])

    def output(self, spatial: Sizes) -> Sizes:
        """Return the spatial sizes of the output."""
        if self.kind == "linear":
            return spatial
        axes = zip(spatial, self.kernel, self.stride, self.padding, self.dilation, self.extra, strict=True)
        if self.kind == "transposed":
            return tuple((size - 1) * s - p + d * (k - 1) + e + 1 for size, k, s, p, d, e in axes)
        return tuple((size + p - d * (k - 1) - 1) // s + 1 for size, k, s, p, d, _ in axes)


@dataclass(frozen=True, kw_only=True)
class DeviceCosts:
    """Seconds per unit on one thread or device: the constants of the cost model.

    Those of the CPU were fitted to forward and backward times of ResNet layers at 64 x 64, one AVX-512 thread, float32
    (benchmarks/experts.py --layers compares the choice with the measured optimum). Those of CUDA are data-sheet
    figures, not measurements: expensive launches and cheap arithmetic favour few large calls.

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


@dataclass(frozen=True, kw_only=True)
class Workload:
    """One forward pass of a layer.

    Attributes:
        rows: Rows of the batch.
        regions: Number of regions present.
        equal: Whether all of them have equally many rows.
        inside: Input positions per row.
        outside: Output positions per row.
        device: Type of the device.
        threads: CPU threads.
    """

    rows: int
    regions: int
    equal: bool = True
    inside: int
    outside: int
    device: str = "cpu"
    threads: int = 1

    @classmethod
    def of(
        cls,
        geometry: LayerGeometry,
        shape: Sizes,
        regions: int,
        *,
        equal: bool = True,
        device: str = "cpu",
        threads: int = 1,
    ) -> Workload:
        """Return the workload of an input shape."""
        spatial = geometry.spatial(shape)
        return cls(
            rows=shape[0],
            regions=regions,
            equal=equal,
            inside=math.prod(spatial),
            outside=math.prod(geometry.output(spatial)),
            device=device,
            threads=threads,
        )

    @property
    def costs(self) -> DeviceCosts:
        """Costs of the device."""
        return _CUDA if self.device == "cuda" else replace(_CPU, threads=self.threads)

    @property
    def pixels_in(self) -> int:
        """Input positions of the whole batch."""
        return self.rows * self.inside

    @property
    def pixels_out(self) -> int:
        """Output positions of the whole batch."""
        return self.rows * self.outside


def base_macs(geometry: LayerGeometry, workload: Workload) -> int:
    """Return the multiply-accumulates of the layer without experts."""
    pixels = workload.pixels_in if geometry.kind == "transposed" else workload.pixels_out
    return pixels * geometry.inputs * geometry.outputs * geometry.taps // geometry.groups
