"""The section of `decompose.yaml` for graphs, and the resolved input of their nodes."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from lorkit.decompose.config.base import Finite, Section

HOPS_OF_EDGES, HOPS_OF_KEYS = 2, 1
Scaling = Literal["quantile", "log-standard", "standard", "none"]
TimeForm = Literal["numbers", "dates"]
Hops = Annotated[int, Field(ge=1, le=16)]
Delay = Annotated[float, Field(ge=0, le=1e18, allow_inf_nan=False)]
"""In the unit of the times, which may be nanoseconds."""


class GraphConfig(Section):
    """How a node and its neighbours become the input of a network.

    Attributes:
        hops: Neighbours within so many hops form groups. By default 2 for edges, and 1 for shared keys, all of whose
            nodes are neighbours.
        group_sizes: Whether the input has the size of each group beside the mean of its features.
        scaling: `quantile` gives each feature the normal score of its rank among the training nodes, which trees need
            not and networks do; `log-standard` takes sign(x) log(1 + |x|), then subtracts the mean of the training
            nodes and divides by their standard deviation; `standard` leaves out the logarithm.
        label_delay: Time from a row to its label, in the unit of the column of times (seconds for dates).
        folds: In training, the labels of a node's own fold are hidden from it, so that the network also learns nodes
            without labelled neighbours of their kind. 0 hides the node's own label only.
    """

    hops: Hops | None = None
    group_sizes: bool = True
    scaling: Scaling = "quantile"  # AP of 0.51 in place of 0.35 on validation of FDCompCN (docs/benchmarks/graphs.md)
    label_delay: Delay = 0.0
    folds: Annotated[int, Field(ge=0, le=100)] = 0

    def hops_of(self, keys: bool) -> int:
        """Return the number of hops of relations by shared keys, or by edges."""
        return self.hops or (HOPS_OF_KEYS if keys else HOPS_OF_EDGES)

    @model_validator(mode="after")
    def _folds_that_hide(self) -> GraphConfig:
        if self.folds == 1:
            raise ValueError("graph.folds of 0, or of 2 or more: a single fold would hide every label")
        return self


class NodeInput(Section):
    """The input of a region's nodes, resolved from the data before training and stored with the run.

    Attributes:
        relations: Names, in order.
        features: Names, in order.
        class_count: Number of classes.
        hops: Neighbours within so many hops form groups.
        group_sizes: As in `GraphConfig`.
        keys: Whether relations are shared keys, else edges.
        timed: Whether a node sees only earlier nodes.
        times: Whether their times are numbers, or dates in seconds since 1970; None without times, and of older runs.
        label_delay: As in `GraphConfig`.
        scaling: As in `GraphConfig`.
        mean: Of each feature over the training nodes.
        std: Of each feature over the training nodes.
        knots: Of the scaling `quantile`: quantiles of each feature over the training nodes, ascending.
    """

    relations: Annotated[tuple[str, ...], Field(min_length=1)]
    features: Annotated[tuple[str, ...], Field(min_length=1)]
    class_count: Annotated[int, Field(ge=2, le=10_000)]
    hops: Hops
    group_sizes: bool
    keys: bool
    timed: bool
    times: TimeForm | None = None
    label_delay: Delay
    scaling: Scaling
    mean: tuple[Finite, ...]
    std: tuple[Annotated[float, Field(gt=0, le=1e300, allow_inf_nan=False)], ...]
    knots: tuple[Annotated[tuple[Finite, ...], Field(min_length=2)], ...] = ()

    @model_validator(mode="after")
    def _one_value_per_feature(self) -> NodeInput:
        for name in ("mean", "std"):
            if len(getattr(self, name)) != len(self.features):
                raise ValueError(f"one {name} per feature ({len(self.features)}), not {len(getattr(self, name))}")
        wanted = len(self.features) if self.scaling == "quantile" else 0
        if len(self.knots) != wanted:
            raise ValueError(f"knots of {wanted} features for the scaling {self.scaling}, not {len(self.knots)}")
        if any(list(one) != sorted(one) for one in self.knots):
            raise ValueError("knots that ascend")
        return self

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """(groups, relations, hops + 1, features + 1) of one node's input."""
        return self.class_count + 2, len(self.relations), self.hops + 1, len(self.features) + 1
