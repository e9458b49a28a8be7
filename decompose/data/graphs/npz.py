"""Reader of a graph in an `.npz`.

Arrays: `features` (N, F), `labels` (N,), each also as `node_features` and `node_labels`, and either
`edge_<relation>` (2, E), from source to target, for each relation, or `edges` (E, 2), undirected. Optional are
`relation_names`, `feature_names`, `label_names`, `ids`, and all three of `train_mask`, `val_mask` (or `valid_mask`) and
`test_mask`: (N,), or (splits, N) as `train_masks` and so on, of which the first split is used.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lorkit.decompose.artifacts.arrays import Float32Array
from lorkit.decompose.config import GraphSource
from lorkit.decompose.data.formats.npz import load_arrays, texts
from lorkit.decompose.data.graphs.graph import PARTS, Graph, Relation, build_edges
from lorkit.decompose.data.graphs.labels import encode_labels
from lorkit.decompose.errors import DataError, UsageError, plural

Arrays = Mapping[str, NDArray[Any]]
UNION = "homo"
"""All relations in one, as published beside them; used only where it is stated, or the only one."""
_EDGES = "edges"
_PREFIX = "edge_"


def read(path: Path, source: GraphSource) -> Graph:
    """Read one file.

    Raises:
        DataError: The file is damaged, pickled, lacks an array, or holds no valid graph.
        UsageError: A stated relation is not in it, or a setting is for tables only.
    """
    refuse_columns(path, source)
    arrays = load_arrays(path)
    features_NF = as_features(path, _one_of(path, arrays, "features", "node_features"))
    values = _one_of(path, arrays, "labels", "node_labels")
    stated = source.classes or _names(path, arrays, "label_names")
    labels_N, classes, notices = encode_labels(values.reshape(-1), stated, where=str(path))
    relations, about = _relations(path, arrays, source, len(features_NF))
    parts, split = _parts(path, arrays, len(features_NF))
    return Graph(
        features_NF=features_NF,
        feature_names=_names(path, arrays, "feature_names") or numbered(features_NF.shape[1]),
        labels_N=labels_N,
        classes=classes,
        relations=relations,
        ids=_names(path, arrays, "ids") or numbered(len(features_NF)),
        parts=parts,
        origin=str(path),
        synthetic=source.simulated,
        notices=(*notices, *about, *split),
    )


def refuse_columns(path: Path, source: GraphSource) -> None:
    """Raise UsageError if a region states a column although its file is no table."""
    stated = [key for key in ("time", "label", "id", "features") if getattr(source, key) is not None]
    if stated:
        raise UsageError(
            f"{path} is no table, and the region states {', '.join(stated)}",
            required="columns only of a CSV or Parquet table",
            fix=f"leave {'it' if len(stated) == 1 else 'them'} out",
        )


def as_features(path: Path, values: NDArray[Any]) -> Float32Array:
    """Return features as (N, F) float32; raise DataError for another shape, or values that are no numbers."""
    if values.ndim != 2 or values.dtype.kind not in "uifb":
        raise DataError(
            f"{path}: features of shape {values.shape} and type {values.dtype}",
            required="(nodes, features) of numbers",
            fix="save them in that layout",
        )
    with np.errstate(over="ignore"):  # the graph refuses infinite features by name
        return np.ascontiguousarray(values, dtype=np.float32)


def choose(path: Path, found: tuple[str, ...], source: GraphSource) -> tuple[str, ...]:
    """Return the relations to read: the stated ones in their order, else all but the union of the others.

    Raises:
        DataError: The file has none.
        UsageError: A stated one is not in it.
    """
    if not found:
        raise DataError(f"{path} has no relation", required="edges", fix="save its edges as the documents say")
    for name in source.relations or ():
        if name not in found:
            raise UsageError(
                f"no relation '{name}' in {path}", required=f"some of {', '.join(found)}", fix="correct `relations`"
            )
    return source.relations or tuple(name for name in found if name != UNION) or found


def numbered(count: int) -> tuple[str, ...]:
    """Return "0", "1", ... as names."""
    return tuple(map(str, range(count)))


def _relations(
    path: Path, arrays: Arrays, source: GraphSource, nodes: int
) -> tuple[dict[str, Relation], tuple[str, ...]]:
    named = _names(path, arrays, "relation_names") or ()
    found = [key.removeprefix(_PREFIX) for key in arrays if key.startswith(_PREFIX)]
    order = [*(name for name in named if name in found), *(name for name in found if name not in named)]
    missing = next((name for name in named if name not in found), None)
    if missing is not None:
        raise DataError(f"{path} has no '{_PREFIX}{missing}'", required="edges of every relation", fix="add it")
    if _EDGES in arrays:
        order.append(_EDGES)
    relations: dict[str, Relation] = {}
    notices: list[str] = []
    for name in choose(path, tuple(order), source):
        where = f"{path}, relation '{name}'"
        ends = _pairs(arrays[_EDGES].T if name == _EDGES else arrays[_PREFIX + name], where, name == _EDGES)
        relations[name], said = build_edges(ends[0], ends[1], nodes, where=where, undirected=name == _EDGES)
        notices += said
    return relations, tuple(notices)


def _pairs(ends_2E: NDArray[Any], where: str, transposed: bool) -> NDArray[Any]:
    if ends_2E.ndim != 2 or ends_2E.shape[0] != 2:
        raise DataError(
            f"{where}: edges of shape {ends_2E.T.shape if transposed else ends_2E.shape}",
            required="(edges, 2)" if transposed else "(2, edges)",
            fix="save them in that layout",
        )
    return ends_2E


def _parts(path: Path, arrays: Arrays, nodes: int) -> tuple[tuple[str | None, ...], tuple[str, ...]]:
    """Return the part of each node as masks state it, and a notice if there are several splits."""
    names = {"train": ("train_mask",), "val": ("val_mask", "valid_mask"), "test": ("test_mask",)}
    masks, splits = {}, 1
    for part, keys in names.items():
        array = next((arrays[key] for name in keys for key in (name, f"{name}s") if key in arrays), None)
        if array is None:
            continue
        if array.ndim == 2 and len(array):
            splits = len(array)
            array = array[0]
        if array.shape != (nodes,) or array.dtype.kind not in "bui":
            raise DataError(
                f"{path}: {keys[0]} of shape {array.shape} and type {array.dtype}",
                required=f"({nodes},) of true and false",
                fix="repair the file",
            )
        masks[part] = array.astype(bool)
    if not masks:
        return (None,) * nodes, ()
    if len(masks) != len(PARTS):
        raise DataError(
            f"{path} has masks of {', '.join(masks)}", required="of train, val and test, or none", fix="add the others"
        )
    shared = np.flatnonzero(sum(mask.astype(int) for mask in masks.values()) > 1)
    if len(shared):
        raise DataError(
            f"{path}: node {shared[0]} is in several parts",
            required="one part for a node",
            fix="repair the masks",
        )
    parts = np.select(list(masks.values()), range(len(PARTS)), default=len(PARTS))
    notices = (f"{path} has {plural(splits, 'split')}: the first is used",) if splits > 1 else ()
    return tuple((*PARTS, None)[number] for number in parts.tolist()), notices


def _names(path: Path, arrays: Arrays, key: str) -> tuple[str, ...] | None:
    """Return an array of names, None if it is not there; raise DataError unless it is a list with each once."""
    names = texts(arrays[key]) if key in arrays and arrays[key].ndim == 1 else None
    twice = None if names is None else next((name for name, count in Counter(names).items() if count > 1), None)
    if (names is None and key in arrays) or twice is not None:
        raise DataError(
            f"{path}: {key} of shape {arrays[key].shape}" if twice is None else f"{path}: '{twice}' twice in {key}",
            required="a list of names, each once",
            fix=f"correct {key}, or leave it out",
        )
    return names


def _one_of(path: Path, arrays: Arrays, *keys: str) -> NDArray[Any]:
    for key in keys:
        if key in arrays:
            return arrays[key]
    raise DataError(
        f"{path} has no '{keys[0]}' among {', '.join(arrays) or 'nothing'}",
        required="the arrays features, labels and edge_<relation>",
        fix="save them under these names",
    )
