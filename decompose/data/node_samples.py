"""The labelled nodes of a graph as the samples of a region; all nodes of the graph are neighbours.

Shapes: N nodes of the graph, n samples, F features.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache

import numpy as np

from lorkit.decompose.artifacts.arrays import Ints
from lorkit.decompose.config import RegionConfig, SplitConfig
from lorkit.decompose.config.graphs import HOPS_OF_EDGES
from lorkit.decompose.config.kinds import refuse_region_keys
from lorkit.decompose.data.graphs.graph import NO_KEY, PARTS, UNLABELLED, Graph, Keys, relation_of
from lorkit.decompose.data.graphs.splits import NodeSplit, join_keys, split_graph
from lorkit.decompose.data.samples.samples import RegionSamples
from lorkit.decompose.errors import DataError, UsageError
from lorkit.decompose.regions import NODE, Region
from lorkit.decompose.tasks import get_task


@dataclass(frozen=True, kw_only=True, eq=False)
class NodeSamples(RegionSamples):
    """The labelled nodes of one region's graph; `images` are their rows of features.

    Attributes:
        graph: The whole graph.
        rows: (n,) the node of each sample.
        training: The nodes whose labels other nodes see; None before the split.
    """

    graph: Graph
    rows: Ints
    training: Ints | None = None

    @cached_property
    def digest(self) -> str:
        """Digest of all that training uses of the region: also nodes without a label, relations and times."""
        lines = [super().digest, *self.graph.feature_names, *_content(self.graph)]
        return hashlib.sha256("\n".join(lines).encode()).hexdigest()

    def seen_from(self, training: Ints, split: SplitConfig | None = None) -> NodeSamples:
        """Return the samples after a split: neighbours see the labels of the samples `training`, and no others.

        After a split by entity the groups of the samples are the entities that it kept together.
        """
        seen = replace(self, training=self.rows[training])
        if split is None or split.by != "entity":
            return seen
        return replace(seen, region=replace(self.region, grouped=True), groups=_entities(self, split.entities))

    def visible(self) -> Ints:
        """Return (N,) the labels that neighbours see: those of training nodes, -1 for all others.

        Raises:
            UsageError: The samples are not split yet.
        """
        if self.training is None:
            raise UsageError("nodes without a split", required="their training part", fix="call seen_from first")
        labels_N = np.full(len(self.graph), UNLABELLED, dtype=np.int64)
        labels_N[self.training] = self.graph.labels_N[self.training]
        return labels_N


@dataclass(frozen=True, kw_only=True, eq=False)
class GraphPlaces:
    """Where some nodes are in their graph, for networks that read it as a whole.

    Attributes:
        graph: The whole graph.
        rows: (n,) the node of each sample.
    """

    graph: Graph
    rows: Ints

    def take(self, indices: Ints) -> GraphPlaces:
        """Return the places of the samples at `indices`, in that order."""
        return replace(self, rows=self.rows[indices])


def node_samples(name: str, config: RegionConfig, graph: Graph, *, complete: bool = True) -> NodeSamples:
    """Return the labelled nodes of a graph as samples.

    Args:
        name: Region name.
        config: The region's settings.
        graph: Its graph, with labels in the order of `config.classes` if stated.
        complete: Require a node of every class; False for a file that is only evaluated.

    Raises:
        UsageError: The region states another task, a key of images, or a threshold that its classes cannot have.
        DataError: No node has a label, or a class has none.
    """
    if config.task not in (None, NODE):
        raise UsageError(
            f"region '{name}' states the task '{config.task}'",
            required=f"{NODE}: {graph.origin} is a graph",
            fix="correct the task or the data",
        )
    refuse_region_keys(name, config, graph=True)
    rows = np.flatnonzero(graph.labelled_N)
    counts = np.bincount(graph.labels_N[rows], minlength=len(graph.classes))
    if not len(rows) or (complete and not counts.all()):
        without = [one for one, count in zip(graph.classes, counts, strict=True) if not count]
        raise DataError(
            f"region '{name}' has no node of {', '.join(without)} in {graph.origin}",
            required="a labelled node of every class",
            fix="check the labels, or state the region's classes",
        )
    ids = tuple(graph.ids[row] for row in rows)
    region = Region(
        name=name,
        task=NODE,
        classes=graph.classes,
        modality=config.modality,
        synthetic=graph.synthetic,
        recall_at=config.recall_at or (),
    )
    get_task(NODE).check_policy(region, config.threshold)
    return NodeSamples(
        images=graph.features_NF[rows],
        labels=graph.labels_N[rows],
        classes=graph.classes,
        ids=ids,
        groups=ids,
        parts=(None,) * len(rows) if config.parts == "anew" else tuple(graph.parts[row] for row in rows),
        origin=graph.origin,
        modality=config.modality,
        synthetic=graph.synthetic,
        notices=graph.notices,
        region=region,
        digests=tuple(_node_digest(graph, int(row)) for row in rows),
        gray=np.zeros(len(rows), dtype=np.bool_),
        augment=False,
        graph=graph,
        rows=rows,
    )


def nodes_of(samples: Mapping[str, RegionSamples]) -> dict[str, NodeSamples]:
    """Return the regions of nodes among samples by region."""
    return {name: one for name, one in samples.items() if isinstance(one, NodeSamples)}


def split_nodes(samples: NodeSamples, split: SplitConfig) -> dict[str, Ints]:
    """Return the samples of each part, ascending: as `split.by` says, else as the source states, else at random.

    Raises:
        UsageError: The graph has not what the split needs.
        DataError: A part would lack a class.
    """
    found = _split_of(samples, split)
    return {part: np.searchsorted(samples.rows, found.nodes(part)) for part in PARTS}


def split_notices(samples: Mapping[str, RegionSamples], split: SplitConfig) -> list[str]:
    """Return what the user should know about the split of nodes, such as nodes that it leaves out."""
    return [
        f"region '{name}': {text}" for name, one in nodes_of(samples).items() for text in _split_of(one, split).notices
    ]


def visible_labels(
    samples: Mapping[str, RegionSamples], training: Mapping[str, Ints], split: SplitConfig
) -> dict[str, RegionSamples]:
    """Return samples by region, those of nodes seen from the samples of their training part."""
    return {
        name: one.seen_from(training[name], split) if isinstance(one, NodeSamples) else one
        for name, one in samples.items()
    }


def split_kind(samples: NodeSamples, split: SplitConfig) -> str:
    """Return how nodes are split, one of `graphs.splits.KINDS`."""
    if split.by != "group":
        return split.by
    return "stated" if any(part is not None for part in samples.parts) else "random"


def _split_of(samples: NodeSamples, split: SplitConfig) -> NodeSplit:
    return _split_once(samples.graph, split_kind(samples, split), split.entities, split.hops or HOPS_OF_EDGES)


@lru_cache(maxsize=4)  # of a graph itself, for the parts and then for what to say about them
def _split_once(graph: Graph, kind: str, entities: tuple[str, ...], hops: int) -> NodeSplit:
    return split_graph(graph, kind, entities=entities, hops=hops)


def _entities(samples: NodeSamples, names: Sequence[str]) -> tuple[str, ...]:
    """Return the entity of each sample, named by the keys of its first one; one without a key is its own.

    Args:
        samples: The nodes.
        names: Relations by key that the split keeps together; without any the first one.
    """
    graph, rows = samples.graph, samples.rows
    by_key = [one for one in graph.relations.values() if isinstance(one, Keys)]
    chosen = [relation_of(graph, name) for name in names] or by_key[:1]
    kept = [one for one in chosen if isinstance(one, Keys)]  # a split by entity has refused edges
    entity_n = join_keys([one.keys_N[rows] for one in kept])
    texts = []
    for row in rows[np.unique(entity_n, return_index=True)[1]].tolist():
        keys = [one.names[one.keys_N[row]] if one.keys_N[row] != NO_KEY else "" for one in kept]
        texts.append("\t".join(keys if any(keys) else (*keys, graph.ids[row])))  # no key is empty
    return tuple(texts[entity] for entity in entity_n.tolist())


def _node_digest(graph: Graph, row: int) -> str:
    """Return the SHA-256 of a node's name, features and time: nodes may have equal features."""
    time = b"" if graph.times_N is None else np.float64(graph.times_N[row]).tobytes()
    values = np.ascontiguousarray(graph.features_NF[row], dtype="<f4").tobytes()
    return hashlib.sha256(graph.ids[row].encode() + b"\0" + values + time).hexdigest()


def _content(graph: Graph) -> Iterator[str]:
    """Yield digests of the parts of a graph."""
    arrays = {"features": graph.features_NF, "labels": graph.labels_N, "times": graph.times_N}
    for name, relation in graph.relations.items():
        if isinstance(relation, Keys):
            arrays[f"keys of {name}"] = relation.keys_N
        else:
            arrays |= {f"rows of {name}": relation.neighbours.indptr, f"edges of {name}": relation.neighbours.indices}
    for name, values in arrays.items():
        if values is not None:
            plain = np.ascontiguousarray(values)
            yield f"{name} {plain.dtype} {plain.shape} {hashlib.sha256(plain.tobytes()).hexdigest()}"
