"""Reader of the `.mat` layout in which YelpChi and Amazon were published.

Variables: `features` (N, F) sparse or dense, `label` (1, N), and an adjacency matrix (N, N) `net_<relation>` for each
relation, of which row u holds the nodes to which u has an edge. `homo`, the union of the relations, is used only where
it is stated or the only one.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from scipy.io import loadmat
from scipy.sparse import issparse

from lorkit.decompose.artifacts.arrays import Ints
from lorkit.decompose.config import GraphSource
from lorkit.decompose.data.graphs.graph import UNLABELLED, Graph, Relation, edges_of_matrix
from lorkit.decompose.data.graphs.labels import encode_labels
from lorkit.decompose.data.graphs.npz import UNION, as_features, choose, numbered, refuse_columns
from lorkit.decompose.errors import DataError, first_line

_PREFIX = "net_"
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
    features = _required(path, variables, "features")
    features_NF = as_features(path, features.toarray() if issparse(features) else np.asarray(features))
    label = _required(path, variables, "label")
    values = np.asarray(label.toarray() if issparse(label) else label).reshape(-1)
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


def _load(path: Path) -> dict[str, Any]:
    try:
        variables = loadmat(path)
    except Exception as error:  # a damaged file raises whatever its bytes lead to
        new = isinstance(error, NotImplementedError)
        raise DataError(
            f"{path} cannot be read ({'it is of MATLAB 7.3' if new else first_line(error)})",
            required="an intact .mat file of MATLAB 5 to 7.2",
            fix="save it with the option -v7" if new else "copy or download it again",
        ) from None
    return {key: value for key, value in variables.items() if not key.startswith("__")}


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
