"""Regions that are graphs in a comparison: their settings and their visible labels are known from the data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from lorkit.decompose.config import Config
from lorkit.decompose.data import RegionSamples, Splits
from lorkit.decompose.data.node_samples import split_notices, visible_labels
from lorkit.decompose.errors import UsageError
from lorkit.decompose.evaluation.comparison.compared_methods import ComparedMethod
from lorkit.decompose.events import Listener, Notice
from lorkit.decompose.methods import get_method
from lorkit.decompose.models.foundation.teacher import Teacher
from lorkit.decompose.training.foundation.resolving import resolve_foundation
from lorkit.decompose.training.graph_settings import resolve_graphs


@dataclass(frozen=True, kw_only=True)
class ResolvedGraphs:
    """What is known once graphs are read and split.

    Attributes:
        config: The shared settings, with the input of each region's nodes.
        methods: The methods, likewise, each with its networks.
        samples: The samples, whose neighbours see the labels of training nodes only.
    """

    config: Config
    methods: Sequence[ComparedMethod]
    samples: dict[str, RegionSamples]


def resolve_comparison(
    config: Config,
    methods: Sequence[ComparedMethod],
    samples: Mapping[str, RegionSamples],
    splits: Splits,
    teacher: Teacher | None,
    on_event: Listener,
) -> ResolvedGraphs:
    """Resolve the settings of a comparison on graphs, and report what a split leaves out.

    Raises:
        UsageError: Graphs that one network cannot read, or an unsuitable foundation.
    """
    for text in split_notices(samples, config.split):
        on_event(Notice(text=text))

    def resolved(own: Config) -> Config:
        return resolve_foundation(resolve_graphs(own, get_method(own.method), samples, splits), teacher)

    training = {name: splits.parts(name)["train"] for name in samples}
    return ResolvedGraphs(
        config=resolved(config),
        methods=[replace(one, config=resolved(one.config)) for one in methods],
        samples=visible_labels(samples, training, config.split),
    )


def check_fractions(fractions: Sequence[float]) -> None:
    """Raise UsageError for a fraction of a graph: labels of the nodes left out would still be seen by neighbours."""
    part = next((fraction for fraction in fractions if fraction != 1), None)
    if part is not None:
        raise UsageError(
            f"--fractions {part:g} of graphs",
            required="1, because neighbours would still see the labels of the nodes that are left out",
            fix="leave --fractions out, or state fewer training nodes in the data",
        )
