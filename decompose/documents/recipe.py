"""The preprocessing recipe as data: a version and four typed steps that turn an image into a network's input.

`decompose.data.preprocessing.recipe` builds and applies it. Version 1 is for 2D images; version 2 adds volumes: three
sides, the trilinear filter, and `axes`, the order and direction to which an oriented file is turned. Version 3 is for
nodes of graphs: one step, `nodes`, states how a node and its neighbours become the input; `decompose.data.graphs`
applies it. Version 4 is for volumes at a stated spacing: they are resampled to it, and the network takes windows of
them, whose size, overlap and blending are part of the recipe, so that every machine gives the same answer.
"""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from lorkit.decompose.config.graphs import NodeInput
from lorkit.decompose.documents.base import Part

VERSIONS = {2: 1, 3: 2}
"""Version of recipes by number of sides: 2D images and volumes."""
NODES = 3
"""Version of recipes of nodes."""
WINDOWED = 4
"""Version of recipes of volumes at a stated spacing."""
AXES = "RAS"
"""Axes of volumes: towards the right, anterior and superior, with NIfTI's names."""
FILTERS = {2: "bilinear", 3: "trilinear"}


class Intensity(Part):
    """Mapping of pixel values to [0, 1]: by the range of their dtype, by percentiles, or by a stated window."""

    op: Literal["intensity"]
    rule: Literal["dtype", "percentile", "window"]
    low: float | None = None
    high: float | None = None

    @model_validator(mode="after")
    def _check(self) -> Self:
        bounds = (self.low, self.high)
        if self.rule == "dtype":
            if self.model_fields_set & {"low", "high"}:
                raise ValueError("rule dtype takes neither low nor high")
        elif self.low is None or self.high is None or not self.low < self.high:
            raise ValueError(f"rule {self.rule} needs low < high, not {bounds[0]} and {bounds[1]}")
        return self

    @property
    def bounds(self) -> tuple[float, float]:
        """Low and high bound of a percentile or window rule."""
        assert self.low is not None
        assert self.high is not None
        return self.low, self.high


class Resize(Part):
    """The size of prepared images: (height, width), or three sides of a volume."""

    op: Literal["resize"]
    size: Annotated[list[Annotated[int, Field(gt=0, strict=True)]], Field(min_length=2, max_length=3)]
    filter: Literal["bilinear", "trilinear"]
    antialias: Literal[True] = True
    """The filter widens when an image shrinks, as Pillow's does and torch's with `antialias=True`."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.filter != FILTERS[len(self.size)]:
            raise ValueError("filter bilinear for 2D images, trilinear for volumes")
        return self


Millimetres = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class Resample(Part):
    """The distance of neighbouring voxels of prepared volumes, in mm along each axis; see `resampled_size`."""

    op: Literal["resample"]
    spacing: Annotated[list[Millimetres], Field(min_length=3, max_length=3)]
    filter: Literal["trilinear"]
    antialias: Literal[True]


class Window(Part):
    """The blocks of a volume that a network takes, and how its answers are joined.

    Neighbouring windows share `overlap` of a side. Logits are averaged with a Gaussian weight around the centre of each
    window, whose standard deviation is `sigma` of a side.
    """

    op: Literal["window"]
    size: Annotated[list[Annotated[int, Field(gt=0, strict=True)]], Field(min_length=3, max_length=3)]
    overlap: Annotated[float, Field(ge=0, le=0.9)]
    blend: Literal["gaussian"]
    sigma: Annotated[float, Field(gt=0, le=1)]


class Channels(Part):
    """The number of channels of prepared images."""

    op: Literal["channels"]
    count: Literal[1, 3]


class Normalise(Part):
    """Mean and standard deviation per channel of values in [0, 1]; the network's graph applies them."""

    op: Literal["normalise"]
    mean: list[float]
    std: list[Annotated[float, Field(gt=0)]]


class Nodes(Part, NodeInput):
    """A node and its neighbours, by group, relation and number of hops; see `decompose.data.graphs.tokens`."""

    op: Literal["nodes"]


Step = Annotated[Intensity | Resize | Resample | Window | Channels | Normalise | Nodes, Field(discriminator="op")]
_ORDER = ("intensity", "resize", "channels", "normalise")
_ORDERS = {NODES: ("nodes", "normalise"), WINDOWED: ("intensity", "resample", "window", "channels", "normalise")}


class Recipe(Part):
    """Preprocessing of an image or node to the input of a network, stored with the network."""

    version: Literal[1, 2, 3, 4]
    axes: Literal["RAS"] | None = None
    """Axes of volumes; missing in recipes of 2D images."""
    steps: list[Step]

    @model_validator(mode="after")
    def _check(self) -> Self:
        order = _ORDERS.get(self.version, _ORDER)
        if tuple(step.op for step in self.steps) != order:
            raise ValueError(f"steps {', '.join(order)}, in this order")
        if self.nodes is not None:
            if self.axes is not None:
                raise ValueError("no axes for nodes")
        elif self.version not in (VERSIONS[self.dims], WINDOWED) or self.axes != (AXES if self.dims == 3 else None):
            raise ValueError(f"version 1 for 2D images, version 2 or 4 with axes {AXES} for volumes")
        if not self.channels == len(self.normalise.mean) == len(self.normalise.std):
            raise ValueError(f"{self.channels} means and stds, one per channel")
        return self

    @property
    def nodes(self) -> Nodes | None:
        """The input of nodes; None in recipes of images."""
        step = self.steps[0]
        return step if isinstance(step, Nodes) else None

    @property
    def intensity(self) -> Intensity:
        """Mapping of pixel values to [0, 1]."""
        step = self.steps[0]
        assert isinstance(step, Intensity)
        return step

    @property
    def size(self) -> tuple[int, ...]:
        """Size of what the network takes.

        (Height, width); three sides of a volume, or of its windows; (relations, hops + 1, features + 1) of nodes.
        """
        if self.nodes is not None:
            return self.nodes.shape[1:]
        step = self.window or self.steps[1]
        assert isinstance(step, Resize | Window)
        return tuple(step.size)

    @property
    def spacing(self) -> tuple[float, ...] | None:
        """Distance of neighbouring voxels of prepared volumes, in mm; None where images have one size."""
        step = self.steps[1]
        return tuple(step.spacing) if isinstance(step, Resample) else None

    @property
    def window(self) -> Window | None:
        """The windows of a volume; None where the network takes whole images."""
        step = self.steps[2] if self.version == WINDOWED else None
        assert step is None or isinstance(step, Window)
        return step

    @property
    def channels(self) -> int:
        """Number of channels, of nodes the number of groups."""
        if self.nodes is not None:
            return self.nodes.shape[0]
        step = self.steps[-2]
        assert isinstance(step, Channels)
        return step.count

    @property
    def normalise(self) -> Normalise:
        """Mean and std per channel, applied by the network's graph."""
        step = self.steps[-1]
        assert isinstance(step, Normalise)
        return step

    @property
    def dims(self) -> int:
        """2 for 2D images, 3 for volumes and nodes."""
        return len(self.size)

    @property
    def shape(self) -> tuple[int, ...]:
        """(C, *size) of one prepared image."""
        return (self.channels, *self.size)
