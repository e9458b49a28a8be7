"""The graph of a region in a report: its relations, and what every split lets a test node learn from training."""

from __future__ import annotations

from typing import Literal

from lorkit.decompose.documents.base import Digest, Document, Part, Share


class RelationFacts(Part):
    """A relation, by edges or by shared keys."""

    kind: Literal["edges", "keys"]
    edge_count: int | None
    key_count: int | None
    alone: Share
    """Share of nodes without a neighbour."""


class Exposure(Part):
    """What training neighbours by one relation say about the test part."""

    relation: str
    hops: int
    """Neighbours are within so many hops."""
    exposed: Share | None
    """Share of the test nodes with a training neighbour."""
    right: Share | None
    """How often the most frequent label of these is the node's own; null where no node is exposed."""


class SplitFacts(Part):
    """A possible split."""

    chosen: bool
    """It is the one of the run, measured on its locked parts."""
    parts: dict[str, int]
    leakage: list[Exposure]
    refused_because: str | None
    """Why it cannot be made."""


class GraphFacts(Part):
    """The graph of a region."""

    nodes: int
    labelled: int
    features: list[str]
    timed: bool
    hops: int
    """A node sees the labels of training nodes within so many hops."""
    relation_facts: dict[str, RelationFacts]
    splits: dict[str, SplitFacts]


class GraphsDocument(Document):
    """The graphs of a run by region, measured once."""

    kind: Literal["graphs"] = "graphs"
    run_digest: Digest
    graphs: dict[str, GraphFacts]
