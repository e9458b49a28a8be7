"""Small graphs whose labels can be learnt from the neighbours: cliques by key, and edges within them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from lorkit.decompose.artifacts.arrays import Ints
from lorkit.decompose.config import Config, load_config
from lorkit.decompose.data.graphs.graph import NO_KEY, Graph, Keys, Relation, build_edges

RELATIONS = ("user", "shop")


def write_graph(path: Path, *, nodes: int = 120, seed: int = 0, parts: bool = True) -> Path:
    """Write an `.npz` of two relations: pairs of nodes are alike, one feature tells the class with noise."""
    rng = np.random.default_rng(seed)
    labels = np.arange(nodes) // 4 % 2
    features = rng.normal(0, 1, (nodes, 3)).astype(np.float32)
    features[:, 0] += 2 * labels
    arrays = {f"edge_{name}": _pairs(nodes, step) for step, name in enumerate(RELATIONS, start=1)}
    if parts:
        part = np.arange(nodes) // 4 // 2 % 3
        arrays |= {f"{key}_mask": part == index for index, key in enumerate(("train", "valid", "test"))}
    np.savez(path, features=features, labels=labels, relation_names=np.array(RELATIONS), **arrays)
    return path


def write_payments(path: Path, *, rows: int = 200, seed: int = 0, timed: bool = True, **columns: Any) -> Path:
    """Write a table of payments as CSV, with further columns or without those that are None."""
    rng = np.random.default_rng(seed)
    cells: dict[str, Any] = {
        "time": range(rows) if timed else None,
        "user": [f"u{number}" for number in rng.integers(0, 40, rows)],
        "shop": [f"s{number}" for number in rng.integers(0, 12, rows)],
        "amount": np.round(rng.lognormal(size=rows), 3),
        "is_fraud": np.arange(rows) % 3 // 2,
    }
    cells = {name: values for name, values in {**cells, **columns}.items() if values is not None}
    lines = [",".join(cells), *(",".join(map(str, row)) for row in zip(*cells.values(), strict=True))]
    path.write_text("\n".join(lines), encoding="utf-8")
    return path


def graph_config(directory: Path, *regions: str, **settings: object) -> Config:
    """Write graphs and a configuration over them: a small RAGFormer that is trained for one epoch."""
    lines = ["name: small", "method: ragformer", "regions:"]
    for seed, name in enumerate(regions or ("fraud",)):
        write_graph(directory / f"{name}.npz", seed=seed)
        lines.append(f"  {name}: {{data: {name}.npz, classes: ['0', '1']}}")
    small = "ragformer:width=8,feedforward=8,layers=1,heads=2"
    lines += [f"student: {{backbone: '{small}'}}", f"foundation: {{backbone: '{small}'}}"]
    lines += ["train: {epochs: 1, batch_size: 16}"]
    (directory / "decompose.yaml").write_text("\n".join(lines), encoding="utf-8")
    return load_config(directory / "decompose.yaml", overrides=[f"{key}={value}" for key, value in settings.items()])


def small_graph(*, nodes: int = 24, seed: int = 0, keys: bool = False) -> Graph:
    """Return a graph with a node without a label."""
    rng = np.random.default_rng(seed)
    labels = np.arange(nodes) % 2
    labels[-1] = -1
    relations: dict[str, Relation] = {
        name: Keys(np.arange(nodes) // (step + 1), tuple(str(key) for key in range(nodes)))
        if keys
        else build_edges(*_pairs(nodes, step), nodes, where=name, undirected=True)[0]
        for step, name in enumerate(RELATIONS, start=1)
    }
    return Graph(
        features_NF=rng.normal(0, 1, (nodes, 3)).astype(np.float32),
        feature_names=("a", "b", "c"),
        labels_N=labels,
        classes=("no", "yes"),
        relations=relations,
        ids=tuple(f"n{index}" for index in range(nodes)),
        parts=(None,) * nodes,
        origin="here",
    )


def _pairs(nodes: int, step: int) -> np.ndarray:
    first = np.arange(0, nodes - step)
    return np.stack([first, first + step])


def keyed_graph() -> tuple[Graph, Ints]:
    """Return a graph by shared keys, one node of which has no user, and the labels (N,) that are visible."""
    graph = small_graph(keys=True)
    keys = graph.relations["user"]
    assert isinstance(keys, Keys)
    keys.keys_N[3] = NO_KEY
    visible = graph.labels_N.copy()
    visible[::5] = -1
    return graph, visible
