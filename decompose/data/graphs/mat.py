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
from scipy.io import loadmat, whosmat
from scipy.sparse import csr_array, issparse

from lorkit.decompose.artifacts.arrays import Ints
from lorkit.decompose.config import GraphSource
from lorkit.decompose.data.formats.limits import check_fits
from lorkit.decompose.data.graphs.graph import UNLABELLED, Edges, Graph, Relation, build_edges
from lorkit.decompose.data.graphs.labels import encode_labels
from lorkit.decompose.data.graphs.npz import UNION, as_features, choose, numbered, refuse_columns
from lorkit.decompose.errors import DataError, first_line, plural, refusing_damage

MOST_VALUES = 2**30
"""Values of a sparse variable that is read as a dense one."""
_PREFIX = "net_"
_WANTED = "an intact .mat file of MATLAB 5 to 7.2"
# Of Amazon's 11,944 users the first 3,305 were not labelled; the file states 0 for them (CARE-GNN, DGL's FraudDataset).
_AMAZON = ({"upu", "usu", "uvu"}, 11_944, 3_305)


def read(path: Path, source: GraphSource) -> Graph:
    """Read one file.

    Raises:
        DataError: The file is damaged, lacks a variable, or holds no valid graph.
        UsageError: A stated relation is not in it, or a setting is for tables only.
    """
    refuse_columns(path, source)
    variables = _load(path)
    features_NF = as_features(path, _dense(path, variables, "features"))
    count = math.prod(np.shape(_required(path, variables, "label")))
    if count != len(features_NF):
        raise DataError(
            f"{path} has {len(features_NF)} rows of features and {count} labels",
            required="one of each per node",
            fix="repair the file",
        )
    values = _dense(path, variables, "label").reshape(-1)
    if values.dtype.kind not in "uifbU":
        raise DataError(
            f"{path}: labels of type {values.dtype}", required="numbers or texts", fix="save them as one number each"
        )
    labels_N, classes, notices = encode_labels(values, source.classes, where=str(path))
    found = [key.removeprefix(_PREFIX) for key in variables if key.startswith(_PREFIX)]
    unlabelled = _without_amazons_first(labels_N, set(found))
    if unlabelled:
        notices = (*notices, f"{path}: the first {unlabelled:,} users of Amazon have no label, as published")
    relations: dict[str, Relation] = {}
    about: list[str] = []
    for name in choose(path, (*found, UNION) if UNION in variables else tuple(found), source):
        matrix = variables[UNION if name == UNION else _PREFIX + name]
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


def _load(path: Path) -> dict[str, Any]:
    with refusing_damage(path, required=_WANTED, fix="copy or download it again"):
        try:
            _check_declared(path)
            variables = loadmat(path)
        except NotImplementedError:
            raise DataError(
                f"{path} cannot be read (it is of MATLAB 7.3)", required=_WANTED, fix="save it with the option -v7"
            ) from None
    found = {key: value for key, value in variables.items() if not key.startswith("__")}
    for key, value in found.items():
        if issparse(value):
            _check_places(path, key, value)
    return found


def _check_declared(path: Path) -> None:
    """Refuse dense variables that declare more than fits in memory."""
    sizes = [math.prod(shape) for _, shape, kind in whosmat(path) if kind not in ("sparse", "unknown")]
    check_fits(path, 8 * sum(sizes), "its variables")


def _check_places(path: Path, key: str, matrix: Any) -> None:
    """Raise DataError for a sparse matrix with places outside it: scipy would use memory that is not its own."""
    try:
        matrix.check_format(full_check=True)
    except ValueError as error:
        raise DataError(
            f"{path}: '{key}' is damaged ({first_line(error)})",
            required="an intact sparse matrix",
            fix="copy or download the file again",
        ) from None


def _dense(path: Path, variables: dict[str, Any], key: str) -> NDArray[Any]:
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
    dense: NDArray[Any] = value.toarray()
    return dense


def _required(path: Path, variables: dict[str, Any], key: str) -> Any:
    if key not in variables:
        raise DataError(
            f"{path} has no '{key}' among {', '.join(variables) or 'nothing'}",
            required="the variables features, label and net_<relation>",
            fix="save them under these names",
        )
    return variables[key]


def _without_amazons_first(labels_N: Ints, relations: set[str]) -> int:
    """Mark Amazon's users without a label in place, and return how many they are; 0 for any other graph."""
    names, nodes, first = _AMAZON
    if len(labels_N) != nodes or not relations & names or labels_N[:first].any():
        return 0
    labels_N[:first] = UNLABELLED
    return first
