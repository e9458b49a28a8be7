"""Prepared nodes that are made by hand, without a graph."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from lorkit.decompose.data.prepared import PreparedRegion
from lorkit.decompose.documents.recipe import NODES, Recipe
from lorkit.decompose.regions import Region


def nodes_of(
    own_NF: NDArray[np.float64], labels: NDArray[np.int64], groups_NV: NDArray[np.float64] | None = None
) -> PreparedRegion:
    """Return nodes of one relation and one hop: their own features, and the row of their positive neighbours."""
    count, features = own_NF.shape
    classes = int(labels.max()) + 1
    stored = np.zeros((count, classes + 2, 1, 2, features + 1), dtype=np.float32)
    stored[:, classes, 0, 0, :features] = own_NF
    if groups_NV is not None:
        stored[:, 1, 0, 1] = groups_NV
    nodes = {
        "op": "nodes",
        "relations": ["r"],
        "features": [f"f{index}" for index in range(features)],
        "class_count": classes,
        "hops": 1,
        "group_sizes": True,
        "keys": False,
        "timed": False,
        "label_delay": 0.0,
        "scaling": "none",
        "mean": [0.0] * features,
        "std": [1.0] * features,
    }
    channels = classes + 2
    normalise = {"op": "normalise", "mean": [0.0] * channels, "std": [1.0] * channels}
    ids = tuple(f"n{index}" for index in range(count))
    return PreparedRegion(
        region=Region(name="bank", task="node", classes=tuple(f"c{index}" for index in range(classes))),
        recipe=Recipe.model_validate({"version": NODES, "steps": [nodes, normalise]}),
        stored=stored,
        labels=labels.astype(np.int64),
        groups=ids,
        ids=ids,
        digests=ids,
    )
