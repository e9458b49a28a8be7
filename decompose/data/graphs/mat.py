"""Reader of the `.mat` layout in which YelpChi and Amazon were published.

Variables: `features` (N, F) sparse or dense, `label` (1, N), and an adjacency matrix (N, N) `net_<relation>` for each
relation, of which row u holds the nodes to which u has an edge. `homo`, the union of the relations, is used only where
it is stated or the only one.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array, issparse

from lorkit.decompose.artifacts.arrays import Ints
from lorkit.decompose.config import GraphSource
from lorkit.decompose.data.formats.limits import check_fits
from lorkit.decompose.data.formats.matlab import Unread, Variable, read_variables
from lorkit.decompose.data.graphs.graph import UNLABELLED, Edges, Graph, Relation, build_edges
from lorkit.decompose.data.graphs.labels import encode_labels
from lorkit.decompose.data.graphs.npz import UNION, as_features, choose, numbered, refuse_columns
from lorkit.decompose.errors import DataError, plural

MOST_VALUES = 2**30
"""Values of a sparse variable that is read as a dense one."""
_PREFIX = "net_"
_FEATURES, _LABEL = "features", "label"
# Of Amazon's 11,944 users the first 3,305 were not labelled; the file states 0 for them (CARE-GNN, DGL's FraudDataset).
_AMAZON = ({"upu", "usu", "uvu"}, 11_944, 3_305)


def read(path: Path, source: GraphSource) -> Graph:
    """Read one file.

    Raises:
        DataError: The file is damaged, lacks a variable, or holds no valid graph.
        UsageError: A stated relation is not in it, or a setting is for tables only.
    """
    refuse_columns(path, source)
    variables = read_variables(path, _used)
    features_NF = as_features(path, _dense(path, variables, _FEATURES))
    count = math.prod(np.shape(_required(path, variables, _LABEL)))
    if count != len(features_NF):
        raise DataError(
            f"{path} has {len(features_NF)} rows of features and {count} labels",
            required="one of each per node",
            fix="repair the file",
        )
    values = _dense(path, variables, _LABEL)
    labels_N, classes, notices = encode_labels(values.reshape(-1), source.classes, where=str(path))
    found = [key.removeprefix(_PREFIX) for key in variables if key.startswith(_PREFIX)]
    unlabelled = _without_amazons_first(labels_N, set(found))
    if unlabelled:
        notices = (*notices, f"{path}: the first {unlabelled:,} users of Amazon have no label, as published")
    relations: dict[str, Relation] = {}
    about: list[str] = []
    for name in choose(path, (*found, UNION) if UNION in variables else tuple(found), source):
        matrix = _required(path, variables, UNION if name == UNION else _PREFIX + name)
        relations[name], said = edges_of_matrix(matrix, len(features_NF), where=f"{path}, relation '{name}'")
        about += said
    return Graph(
        features_NF=features_NF,
        feature_names=numbered(features_NF.shape[1]),
        labels_N=labels_N,
        classes=classes,
        relations=relations,
        ids=numbered(len(features_NF)),
        parts=(None,) * len(features_NF),
        origin=str(path),
        synthetic=source.simulated,
        notices=(*notices, *about),
    )


def edges_of_matrix(matrix: Any, nodes: int, *, where: str) -> tuple[Edges, tuple[str, ...]]:
    """Return the relation of an adjacency matrix, in which row u holds the nodes to which u has an edge.

    Args:
        matrix: (N, N), sparse, or dense with a zero where there is no edge; finite weights, which are not used.
        nodes: Number of nodes.
        where: File and relation, for messages.

    Raises:
        DataError: It is no matrix of finite numbers of that size.
    """
    if getattr(matrix, "shape", None) != (nodes, nodes):
        raise DataError(
            f"{where}: a matrix of shape {getattr(matrix, 'shape', type(matrix).__name__)}",
            required=f"({nodes}, {nodes}), a row and a column for each node",
            fix="repair the file",
        )
    if matrix.dtype.kind not in "uifb":
        raise DataError(f"{where}: a matrix of type {matrix.dtype}", required="numbers", fix="save it as numbers")
    stored = csr_array(matrix).tocoo()
    unclear = np.flatnonzero(~np.isfinite(stored.data))
    if len(unclear):
        raise DataError(
            f"{where}: the weight of the edge from node {stored.row[unclear[0]]} to {stored.col[unclear[0]]} is"
            f" {stored.data[unclear[0]]}; {plural(len(unclear), 'such weight')} in all",
            required="finite weights, 0 where there is no edge",
            fix="remove these edges, or give them a weight",
        )
    used = stored.data != 0
    return build_edges(stored.row[used], stored.col[used], nodes, where=where)


def _used(name: str) -> bool:
    return name in (_FEATURES, _LABEL, UNION) or name.startswith(_PREFIX)


def _dense(path: Path, variables: dict[str, Variable], key: str) -> NDArray[Any]:
    """Return a variable as an array; raise DataError for a sparse one that would not fit in memory."""
    value = _required(path, variables, key)
    if not issparse(value):
        return np.asarray(value)
    if math.prod(value.shape) > MOST_VALUES:
        raise DataError(
            f"{path}: '{key}' of shape {value.shape}",
            required=f"at most {MOST_VALUES:,} values",
            fix="leave out features that few nodes have",
        )
    check_fits(path, math.prod(value.shape) * value.dtype.itemsize, f"'{key}'")
    dense: NDArray[Any] = value.toarray()
    return dense


def _required(path: Path, variables: dict[str, Variable], key: str) -> Any:
    value = variables.get(key)
    if value is None:
        raise DataError(
            f"{path} has no '{key}' among {', '.join(variables) or 'nothing'}",
            required="the variables features, label and net_<relation>",
            fix="save them under these names",
        )
    if isinstance(value, Unread):
        raise DataError(
            f"{path}: '{key}' is {value.what}",
            required="a matrix of real numbers, full or sparse, or labels as texts",
            fix="save it as a matrix",
        )
    return value


def _without_amazons_first(labels_N: Ints, relations: set[str]) -> int:
    """Mark Amazon's users without a label in place, and return how many they are; 0 for any other graph."""
    names, nodes, first = _AMAZON
    if len(labels_N) != nodes or not relations & names or labels_N[:first].any():
        return 0
    labels_N[:first] = UNLABELLED
    return first
