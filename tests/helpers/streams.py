"""A small network of rows with two keys, whose logits are its input, and the rows of a stream."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from lorkit.decompose.config.graphs import NodeInput
from lorkit.decompose.data.graphs.graph import build_keys
from lorkit.decompose.data.graphs.scaling import FeatureScaling
from lorkit.decompose.data.graphs.tokens import node_inputs
from lorkit.decompose.documents.network import Decision
from lorkit.export.serving import stores
from lorkit.export.serving.counters import CounterStore, Layout
from lorkit.export.serving.scoring import Scorer

CLASSES = ("no", "yes")


def node_input(**changes: Any) -> NodeInput:
    """Return the input of two relations and two features."""
    settings: dict[str, Any] = {
        "relations": ("card", "shop"), "features": ("amount", "age"), "class_count": 2, "hops": 1, "group_sizes": True,
        "keys": True, "timed": True, "label_delay": 0.0, "scaling": "log-standard", "mean": (0.5, -1.0),
        "std": (2.0, 0.7),
    }  # fmt: skip
    return NodeInput(**{**settings, **changes})


class Network:
    """Logits from a fixed sum over the input; keeps what it was given."""

    def __init__(self) -> None:
        self.seen: list[Any] = []

    def __call__(self, batch: Any) -> Any:
        """Return (N, 2)."""
        self.seen += list(batch)
        weights = np.cos(np.arange(batch[0].size)) / 4
        margin = np.array([np.dot(one.ravel().astype(np.float64), weights) for one in batch])
        return np.stack([np.zeros(len(batch)), margin], axis=1).astype(np.float32)


def open_store(
    place: Path | str, nodes: NodeInput | None = None, classes: tuple[str, ...] = CLASSES, **settings: Any
) -> Any:
    """Open a store for the input."""
    return stores.open_store(place, Layout.of(nodes or node_input(), classes), **settings)


def open_scorer(store: CounterStore, nodes: NodeInput | None = None, **settings: Any) -> tuple[Scorer, Network]:
    """Return a scorer and its network."""
    network = Network()
    decision = Decision(policy="f1", thresholds={"yes": 0.4}, temperature=1.5)
    return Scorer(nodes or node_input(), CLASSES, decision, network, store, **settings), network


def transactions(count: int, *, seed: int = 0, keys: int = 3) -> list[dict[str, Any]]:
    """Draw rows; some have no key."""
    rng = np.random.default_rng(seed)

    def key() -> str | None:
        drawn = int(rng.integers(-1, keys))
        return None if drawn < 0 else f"k{drawn}"

    return [
        {"id": f"t{at}", "card": key(), "shop": key(), "amount": float(rng.normal() * 100), "age": float(rng.random())}
        for at in range(count)
    ]


def whole_graph(nodes: Any, rows: list[dict[str, Any]], labels: list[int], times: Any, delay: float = 0.0) -> Any:
    """Return the inputs of all rows from the graph of all of them."""
    features = np.array([[row["amount"], row["age"]] for row in rows], dtype=np.float32)
    scaled = FeatureScaling.of(nodes).apply(features)
    relations = {name: build_keys([row[name] for row in rows], where="")[0] for name in nodes.relations}
    settings = {"times_N": times, "label_delay": delay, "group_sizes": nodes.group_sizes}
    return node_inputs(scaled, relations, np.array(labels), nodes.class_count, nodes.hops, **settings)
