"""A graph: nodes with features, labels and times, and named relations between them.

A relation is either a list of edges or a shared key. Shapes: N nodes, F features, E edges, R relations.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from lorkit.decompose.artifacts.arrays import Float32Array, Floats, Ints
from lorkit.decompose.config.graphs import TimeForm
from lorkit.decompose.errors import DataError, UsageError, plural

PARTS = ("train", "val", "test")
UNLABELLED = -1
NO_KEY = -1


@dataclass(frozen=True, eq=False)
class Edges:
    """A relation stated by edges.

    Attributes:
        neighbours: (N, N) uint8 ones; row v holds the nodes with an edge to v. Without duplicates and self-loops.
    """

    neighbours: csr_array


@dataclass(frozen=True, eq=False)
class Keys:
    """A relation by a shared key: all nodes of one key are neighbours of each other.

    Attributes:
        keys_N: (N,) the key of each node, an index into `names`; -1 for a node without one.
        names: The text of each key, as the data state it.
    """

    keys_N: Ints
    names: tuple[str, ...]


Relation: TypeAlias = Edges | Keys


@dataclass(frozen=True, kw_only=True, eq=False)
class Graph:
    """A graph that is checked when it is made.

    Attributes:
        features_NF: (N, F) raw features, finite.
        feature_names: Name of each feature.
        labels_N: (N,) indices into `classes`; -1 for a node without a label.
        classes: Class names, two or more.
        relations: Relations by name.
        ids: Name of each node, for messages and results.
        parts: "train", "val" or "test" as the source states it; None leaves the choice to the split.
        times_N: (N,) time of each node, of dates in seconds since 1970; None without times. Nodes of the same time
            come in the order of the data.
        time_form: Whether the times are numbers or dates; None without times, and where nothing says so.
        origin: Location of the data.
        synthetic: Whether a program drew or simulated it.
        notices: What the user should know about how it was read.

    Raises:
        DataError: Unequal lengths, no nodes, features or times that are not finite, labels that index no class, fewer
            than two classes, a part of another name, no relation, or a relation of another number of nodes.
    """

    features_NF: Float32Array
    feature_names: tuple[str, ...]
    labels_N: Ints
    classes: tuple[str, ...]
    relations: Mapping[str, Relation]
    ids: tuple[str, ...]
    parts: tuple[str | None, ...]
    origin: str
    times_N: Floats | None = None
    time_form: TimeForm | None = None
    synthetic: bool = False
    notices: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        _check_lengths(self)
        _check_features(self)
        _check_labels(self)
        _check_times(self)

    def __len__(self) -> int:
        return len(self.labels_N)

    @property
    def labelled_N(self) -> NDArray[np.bool_]:
        """(N,) whether a node has a label."""
        labelled_N: NDArray[np.bool_] = self.labels_N != UNLABELLED
        return labelled_N


def build_edges(
    source_E: NDArray[Any], target_E: NDArray[Any], nodes: int, *, where: str, undirected: bool = False
) -> tuple[Edges, tuple[str, ...]]:
    """Return the relation of edges from each source to its target, and notices about what was cleaned.

    Duplicate edges are merged and self-loops removed. With `undirected`, each pair is an edge in both directions.

    Args:
        source_E: (E,) indices of nodes.
        target_E: (E,) indices of nodes.
        nodes: Number of nodes.
        where: File and relation, for messages.
        undirected: Whether the order of a pair means nothing.

    Raises:
        DataError: Unequal lengths, ends that are not whole numbers, or an end that is no node.
    """
    ends_2E = [_ends(values, nodes, where) for values in (source_E, target_E)]
    if len(ends_2E[0]) != len(ends_2E[1]):
        raise DataError(
            f"{where}: {len(ends_2E[0])} sources and {len(ends_2E[1])} targets",
            required="a source and a target for each edge",
            fix="repair the file",
        )
    source, target = ends_2E
    loop = source == target
    source, target = source[~loop], target[~loop]
    if undirected:
        source, target = np.minimum(source, target), np.maximum(source, target)
    neighbours = _binary(target, source, nodes)
    duplicates = len(source) - neighbours.nnz
    if undirected:
        neighbours = csr_array(neighbours + neighbours.T)
        neighbours.sort_indices()
    return Edges(neighbours), _about_edges(where, int(loop.sum()), duplicates, neighbours.nnz)


def build_keys(values: Sequence[str | None], *, where: str) -> tuple[Keys, tuple[str, ...]]:
    """Return the relation of a shared key from the text of each node, and a notice if no two nodes share one.

    Keys are numbered in the order of their first node. A text of None or only spaces is no key.
    """
    numbers: dict[str, int] = {}
    keys = [
        NO_KEY if value is None or not value.strip() else numbers.setdefault(value, len(numbers)) for value in values
    ]
    keys_N = np.array(keys, dtype=np.int64)
    shared = bool((np.bincount(keys_N[keys_N != NO_KEY]) > 1).any())
    notices = () if shared else (f"{where}: no two rows share a key, so it relates none",)
    return Keys(keys_N, tuple(numbers)), notices


def _ends(values: NDArray[Any], nodes: int, where: str) -> Ints:
    """Return one end of each edge as an index; raise DataError for one that is no node."""
    array = np.asarray(values)
    if array.ndim != 1 or array.dtype.kind not in "iu":
        raise DataError(
            f"{where}: edge ends of shape {array.shape} and type {array.dtype}",
            required="whole numbers, the indices of nodes from 0",
            fix="save them as integers",
        )
    wrong = np.flatnonzero((array < 0) | (array >= nodes))
    if len(wrong):
        raise DataError(
            f"{where}: edge {wrong[0]} ends at node {array[wrong[0]]}, and {plural(len(wrong) - 1, 'other end')}"
            f" {'is' if len(wrong) == 2 else 'are'} no node",
            required=f"indices from 0 to {nodes - 1}",
            fix="remove these edges, or add the nodes",
        )
    return array.astype(np.int64)


def _binary(rows: Ints, columns: Ints, nodes: int) -> csr_array:
    """Return an (N, N) matrix of uint8 ones at some places, each once."""
    matrix = csr_array((np.ones(len(rows), dtype=np.int32), (rows, columns)), shape=(nodes, nodes))
    matrix.sum_duplicates()
    return csr_array((np.ones(matrix.nnz, dtype=np.uint8), matrix.indices, matrix.indptr), shape=matrix.shape)


def _about_edges(where: str, loops: int, duplicates: int, kept: int) -> tuple[str, ...]:
    notices = []
    if loops:
        notices.append(f"{where}: {plural(loops, 'self-loop')} removed")
    if duplicates:
        notices.append(f"{where}: {plural(duplicates, 'duplicate edge')} merged")
    if not kept:
        notices.append(f"{where}: no edges")
    return tuple(notices)


def _check_lengths(graph: Graph) -> None:
    lengths = {
        "rows of features": len(graph.features_NF),
        "labels": len(graph.labels_N),
        "ids": len(graph.ids),
        "parts": len(graph.parts),
    }
    if graph.times_N is not None:
        lengths["times"] = len(graph.times_N)
    for name, relation in graph.relations.items():
        size = len(relation.keys_N) if isinstance(relation, Keys) else relation.neighbours.shape[0]
        lengths[f"nodes in relation '{name}'"] = size
    if len(set(lengths.values())) != 1:
        counts = ", ".join(f"{count} {key}" for key, count in lengths.items())
        raise DataError(f"{graph.origin} has {counts}", required="one of each per node", fix="repair the file")
    if not len(graph):
        raise DataError(f"{graph.origin} has no nodes", required="at least one", fix="check the file")
    if not graph.relations:
        raise DataError(f"{graph.origin} has no relation", required="at least one", fix="state the region's relations")
    wrong = next((part for part in graph.parts if part not in (None, *PARTS)), None)
    if wrong is not None:
        raise DataError(f"{graph.origin}: part '{wrong}'", required=", ".join(PARTS), fix="correct it")


def _check_features(graph: Graph) -> None:
    if graph.features_NF.ndim != 2 or graph.features_NF.shape[1] != len(graph.feature_names):
        raise DataError(
            f"{graph.origin}: features of shape {graph.features_NF.shape} with {len(graph.feature_names)} names",
            required="(nodes, features), and a name for each feature",
            fix="repair the file",
        )
    if not len(graph.feature_names):
        raise DataError(
            f"{graph.origin} has no features", required="a numeric feature", fix="add a numeric column to the data"
        )
    rows, columns = np.nonzero(~np.isfinite(graph.features_NF))
    if len(rows):
        value = graph.features_NF[rows[0], columns[0]]
        raise DataError(
            f"{graph.origin}: feature '{graph.feature_names[columns[0]]}' of node '{graph.ids[rows[0]]}'"
            f" (row {rows[0] + 1}, column {columns[0] + 1}) is {value}; {plural(len(rows), 'such value')} in all",
            required="finite numbers",
            fix="fill these values in, or leave the feature out",
        )


def _check_labels(graph: Graph) -> None:
    if len(graph.classes) < 2 or len(set(graph.classes)) != len(graph.classes):
        raise DataError(
            f"{graph.origin} has the classes {', '.join(graph.classes) or '(none)'}",
            required="two or more, each once",
            fix="state the region's classes, or correct the labels",
        )
    wrong = np.flatnonzero((graph.labels_N < UNLABELLED) | (graph.labels_N >= len(graph.classes)))
    if len(wrong):
        raise DataError(
            f"{graph.origin}: label {graph.labels_N[wrong[0]]} of node '{graph.ids[wrong[0]]}'",
            required=f"0 to {len(graph.classes) - 1} for {', '.join(graph.classes)}, or -1 without a label",
            fix="correct the labels, or state the region's classes",
        )


def _check_times(graph: Graph) -> None:
    if graph.times_N is None:
        return
    wrong = np.flatnonzero(~np.isfinite(graph.times_N))
    if len(wrong):
        raise DataError(
            f"{graph.origin}: the time of node '{graph.ids[wrong[0]]}' (row {wrong[0] + 1}) is missing or not finite",
            required="a time for every row",
            fix="fill it in, or remove the row",
        )


def relation_of(graph: Graph, name: str) -> Relation:
    """Return a relation by name; raise UsageError for one that the graph does not have."""
    if name not in graph.relations:
        raise UsageError(
            f"no relation '{name}' in {graph.origin}",
            required=f"one of {', '.join(graph.relations)}",
            fix="name one of them",
        )
    return graph.relations[name]
