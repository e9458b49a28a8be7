"""The section of `decompose.yaml` for the samples of a region."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, field_validator, model_validator

from lorkit.decompose.config.base import MOST, Finite, Fraction, Positive, Section, as_list
from lorkit.decompose.config.graphs import NodeInput
from lorkit.decompose.config.training import RandomConfig

Tolerance = Annotated[float, Field(ge=0, le=1000, allow_inf_nan=False)]
"""In mm."""
Names = Annotated[tuple[str, ...], BeforeValidator(as_list), Field(min_length=1)]
Paths = Names


def _is_policy(value: Any) -> Any:
    """Check a threshold's policy, so that a wrong one gives one message."""
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if value is None or value in ("youden", "f1") or (number and 0 < value < 1):
        return value
    if isinstance(value, dict) and len(value) == 1:
        ((name, limit),) = value.items()
        number = isinstance(limit, int | float) and not isinstance(limit, bool)
        if number and ((name == "precision" and 0 < limit <= 1) or (name == "cost" and 0 < limit <= MOST)):
            return value
    raise ValueError(
        "youden, f1, {precision: P} with P from 0 to 1, {cost: C} with C above 0 and up to 1e9, or a number from 0 to 1"
    )


Threshold = Annotated[
    Literal["youden", "f1"] | Annotated[float, Field(gt=0, lt=1)] | dict[str, Positive] | None,
    BeforeValidator(_is_policy),
]


def _are_places(value: Any) -> Any:
    """Check numbers and shares of cases, so that a wrong one gives one message."""
    if value is None:
        return None
    stated = list(value) if isinstance(value, list | tuple) else [value]
    for one in stated:
        whole, share = isinstance(one, int) and not isinstance(one, bool), isinstance(one, float)
        if not ((whole and 1 <= one <= MOST) or (share and 0 < one < 1)):
            raise ValueError("numbers of nodes from 1, or shares between 0 and 1, such as 100 or [0.01, 0.05]")
    if len(set(stated)) != len(stated) or not stated:
        raise ValueError("one or more numbers or shares of nodes, each once")
    return tuple(stated)


MaskNumber = Annotated[int, Field(ge=0, lt=2**32)]
MaskNumbers = Annotated[tuple[Annotated[int, Field(ge=1, lt=2**32)], ...], Field(min_length=1)]
RecallAt = Annotated[
    tuple[Annotated[int, Field(ge=1, le=MOST)] | Annotated[float, Field(gt=0, lt=1)], ...] | None,
    BeforeValidator(_are_places),
]


def _as_spacing(value: Any) -> Any:
    """Check a spacing; one number is that of all axes."""
    if value is None:
        return None
    stated = [value] * 3 if isinstance(value, int | float) else value
    numbers = isinstance(stated, list | tuple) and len(stated) == 3
    if not (numbers and all(isinstance(one, int | float) and not isinstance(one, bool) for one in stated)):
        raise ValueError("one number in mm, or three: right to left, back to front, and upwards, such as [1, 1, 3]")
    if not all(_FINEST <= one <= _COARSEST for one in stated):
        raise ValueError(f"a spacing of {_FINEST} to {_COARSEST} mm")
    return tuple(float(one) for one in stated)


_FINEST, _COARSEST = 0.05, 50.0  # mm: finer or coarser is a wrong unit
_Distance = Annotated[float, Field(ge=_FINEST, le=_COARSEST)]
Spacing = Annotated[tuple[_Distance, _Distance, _Distance] | None, BeforeValidator(_as_spacing)]


class RegionAugment(Section):
    """Augmentation of one region where it differs from `train.augment`; null keeps the setting.

    `random: false` leaves random operations out.
    """

    flip: bool | None = None
    share: Annotated[float, Field(ge=0, le=1)] | None = None
    shift: Fraction | None = None
    rotate: Annotated[float, Field(ge=0, le=180)] | None = None
    scale: Fraction | None = None
    intensity: Fraction | None = None
    random: RandomConfig | Literal[False] | None = None


class GraphSource(Section):
    """How a graph is read. `.mat` and `.npz` files name what they hold: only `relations` and `classes` apply to them.

    `relations` are the columns of a table that name entities: rows with the same entity in such a column are related.
    Of other files they are the relations to use; by default all. `features` are the numeric columns to use, by default
    all others; `simulated` says that a program made the rows, and reports repeat it. Labels that are none of `classes`
    are unknown ones.
    """

    classes: tuple[str, ...] | None = None
    relations: Names | None = None
    time: str | None = None
    label: str | None = None
    id: str | None = None
    features: Names | None = None
    simulated: bool = False

    @model_validator(mode="after")
    def _one_role_for_a_column(self) -> GraphSource:
        for key in ("relations", "features"):
            names = getattr(self, key) or ()
            twice = next((name for name in names if names.count(name) > 1), None)
            if twice is not None:
                raise ValueError(f"{key} with each name once ('{twice}' is repeated)")
        others = (*(self.relations or ()), *(self.features or ()), self.time, self.id)
        if self.label is not None and self.label in others:
            raise ValueError(f"the label '{self.label}' only as the label")
        return self


class RegionConfig(GraphSource):
    """Location and format of the samples of one region.

    `data` is split by the `split` section; `train`, `val` and `test` state the parts instead; of these, val or test may
    be missing and is then taken from train. For a multilabel region,
    `pos_weight` multiplies the loss of positive labels (`auto`: negatives per positive in the training part). For
    multilabel and node regions, `threshold` says how validation chooses the probability from which a label, or the
    second of a node's two classes, counts as positive: `youden` maximises sensitivity plus specificity, `f1` the F1
    score, `{precision: 0.9}` finds the most with at least this precision, `{cost: 20}` minimises the cost where a
    missed positive case costs 20 times as much as a false alarm, and a number is itself the threshold. `recall_at` are
    the nodes with the highest scores that can be looked at, as numbers or as shares of all; without it as many as are
    positive. `spacing` resamples volumes to these mm along the axes right, anterior and superior:
    `image.size` is then the window that the network takes, and neighbouring windows share `window_overlap` of a side,
    by default a quarter; without it volumes are resized to `image.size`. `unlabelled` names images without labels for
    the terms of a teacher. `label` is the column of labels of a table. `nodes` is filled in by training from the data
    of a graph. `overlap` says that structures may overlap: each then has an output of its own, several numbers of a
    mask may be one structure, and a number several structures.
    """

    data: Paths | None = None
    train: Paths | None = None
    val: Paths | None = None
    test: Paths | None = None
    unlabelled: Paths | None = None
    task: str | None = None
    modality: str | None = None
    structures: tuple[str, ...] | dict[str, MaskNumber | MaskNumbers] | None = None
    overlap: bool = False
    groups: str | None = None
    parts: Literal["stated", "anew"] = "stated"
    augment: RegionAugment | Literal[False] | None = None
    window: tuple[Finite, Finite] | None = None
    spacing: Spacing = None
    window_overlap: Annotated[float, Field(ge=0, le=0.75)] | None = None
    intensity: Literal["dtype", "percentile"] = "dtype"
    pos_weight: Literal["auto"] | Positive | None = None
    threshold: Threshold = None
    nsd_tolerance_mm: Tolerance | dict[str, Tolerance] = 1.0
    recall_at: RecallAt = None
    nodes: NodeInput | None = None

    @field_validator("groups")
    @classmethod
    def _is_pattern(cls, groups: str | None) -> str | None:
        if groups is not None:
            try:
                brackets = re.compile(groups).groups
            except (re.error, RecursionError, OverflowError) as error:
                raise ValueError(f"a regular expression ({error})") from None
            if brackets > 1:
                raise ValueError("a regular expression with at most one bracket, around the patient")
        return groups

    @field_validator("window")
    @classmethod
    def _ordered(cls, window: tuple[Finite, Finite] | None) -> tuple[float, float] | None:
        if window is not None and not window[0] < window[1]:
            raise ValueError("a window [low, high] with low below high")
        return window

    @model_validator(mode="after")
    def _overlap_of_windows(self) -> RegionConfig:
        if self.spacing is None and self.window_overlap is not None:
            raise ValueError("window_overlap only beside spacing, which makes windows of volumes")
        return self

    @model_validator(mode="after")
    def _overlap_is_of_masks(self) -> RegionConfig:
        if self.overlap and self.task not in (None, "segmentation", "structures"):
            raise ValueError(f"overlap only with masks (the task is {self.task})")
        numbers = self.structures if isinstance(self.structures, dict) else {}
        several = next((name for name, number in numbers.items() if isinstance(number, tuple)), None)
        if several is not None and not self.may_overlap:
            raise ValueError(f"overlap: true, because the structure '{several}' has several numbers")
        return self

    @property
    def may_overlap(self) -> bool:
        """Whether structures may overlap."""
        return self.overlap or self.task == "structures"

    @model_validator(mode="after")
    def _one_way_of_splitting(self) -> RegionConfig:
        stated = [part for part in ("train", "val", "test") if getattr(self, part) is not None]
        if self.data is None and (len(stated) < 2 or self.train is None):
            raise ValueError("either data, or train and one or both of val and test")
        if self.data is not None and stated:
            raise ValueError(f"either data or stated parts, not both (data and {', '.join(stated)})")
        return self
