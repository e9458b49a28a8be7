"""A teacher's outputs as named tensors of each region, one row per sample, and back.

Shapes: N samples, n of them of a region, F features, C channels, *grid of a stage.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from lorkit.decompose.data.batches.loader import Batch
from lorkit.decompose.errors import UsageError
from lorkit.decompose.models.foundation.teacher import TeacherFeatures
from lorkit.decompose.models.regional import RegionalModel, RegionalOutput

_FEATURES, _GRID = "features", "grid"
DTYPES = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}
NAMES = {dtype: name for name, dtype in DTYPES.items()}


@dataclass(frozen=True)
class Part:
    """One tensor of the outputs, without the axis of samples.

    Attributes:
        shape: Of one sample.
        order: Axes in memory order, the slowest first: channels-last grids stay so, because kernels may give other bits
            for another layout.
        given: Precision of the teacher's output.
        stored: Precision on disk, never wider than `given`.
    """

    shape: tuple[int, ...]
    order: tuple[int, ...]
    given: torch.dtype
    stored: torch.dtype

    @property
    def stored_shape(self) -> tuple[int, ...]:
        """The shape of one sample on disk."""
        return tuple(self.shape[axis] for axis in self.order)

    @property
    def bytes(self) -> int:
        """Bytes of one sample on disk."""
        return int(torch.Size(self.shape).numel()) * self.stored.itemsize

    def pack(self, value: Tensor) -> Tensor:
        """Return (N, *stored_shape) on the CPU, rounded to the precision on disk."""
        axes = (0, *(axis + 1 for axis in self.order))
        if self.stored == torch.float16 and value.numel() and value.detach().abs().max() > torch.finfo(self.stored).max:
            raise UsageError(
                "cache.dtype fp16 for a teacher whose features exceed 65504",
                required="a precision with a larger range",
                fix="set cache.dtype to bf16 or fp32",
            )
        return value.detach().permute(axes).to(device="cpu", dtype=self.stored).contiguous()

    def unpack(self, value: Tensor) -> Tensor:
        """Return (N, *shape) as the teacher returned it, except for rounding."""
        back = sorted(range(len(self.order)), key=lambda place: self.order[place])
        return value.to(self.given).permute(0, *(place + 1 for place in back))

    def to_json(self) -> dict[str, Any]:
        """Return plain data."""
        return {"shape": list(self.shape), "order": list(self.order), "stored": NAMES[self.stored]}


FeatureLayout = Mapping[str, Part]


def tensors_of(answer: Any, regions: Sequence[str]) -> dict[str, dict[str, Tensor]]:
    """Return the tensors (n, ...) of an output by region and name, the rows of each region in order.

    Logits are omitted: a head is cheap, and probes differ for every fraction of the patients.

    Args:
        answer: The output.
        regions: The regions of its batch, of which features and stages have only one.

    Raises:
        UsageError: An output of an unknown kind.
    """
    if isinstance(answer, TeacherFeatures):
        (name,) = regions
        grids = {f"{_GRID}{index}": grid for index, grid in enumerate(answer.grids)}
        return {name: {_FEATURES: answer.features, **grids}}
    if isinstance(answer, RegionalOutput):
        return {name: {_FEATURES: features} for name, features in answer.features.items()}
    raise UsageError(
        f"a teacher's output of type {type(answer).__name__} under cache.enabled",
        required="features, or features and logits",
        fix="set cache.enabled to false for this method",
    )


def layouts_of(answer: Any, regions: Sequence[str], dtype: str) -> dict[str, FeatureLayout]:
    """Return the layout of an output's tensors by region, as stored with `cache.dtype`; see `tensors_of`."""
    found = tensors_of(answer, regions)
    return {
        region: {name: _part(value, DTYPES[dtype]) for name, value in tensors.items()}
        for region, tensors in found.items()
    }


def join(tensors: Mapping[str, Mapping[str, Tensor]], kind: type[Any], teacher: RegionalModel, batch: Batch) -> Any:
    """Rebuild an output from the tensors (n, ...) of its regions; logits come from the teacher's current heads."""
    if kind is RegionalOutput:
        return teacher.classify_features({name: one[_FEATURES] for name, one in tensors.items()}, batch.region)
    (one,) = tensors.values()
    return TeacherFeatures(tuple(one[f"{_GRID}{index}"] for index in range(len(one) - 1)), one[_FEATURES])


def _part(value: Tensor, wanted: torch.dtype) -> Part:
    strides = value.stride()[1:]
    shape = tuple(value.shape[1:])
    return Part(
        shape=shape,
        # axes of length 1 have no order in memory: the others decide, and these stay in place
        order=_order(shape, strides),
        given=value.dtype,
        stored=wanted if wanted.itemsize <= value.dtype.itemsize else value.dtype,
    )


def _order(shape: Sequence[int], strides: Sequence[int]) -> tuple[int, ...]:
    return tuple(sorted(range(len(shape)), key=lambda axis: (-strides[axis], axis)))
