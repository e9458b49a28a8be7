"""The inputs of nodes by a loop over nodes with Python sets, and event by event: slow, but simple."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from lorkit.decompose.data.graphs.graph import Edges, Relation


@dataclass
class Drawn:
    """What `node_inputs` reads."""

    features: Any
    relations: dict[str, Relation]
    visible: Any
    classes: int
    hops: int
    folds: Any = None
    times: Any = None
    delay: float = 0.0


def neighbours_of(relation: Relation) -> list[set[int]]:
    """Return the neighbours of each node, without itself."""
    if isinstance(relation, Edges):
        pairs = relation.neighbours.tocoo()
        found: list[set[int]] = [set() for _ in range(relation.neighbours.shape[0])]
        for row, column in zip(pairs.row.tolist(), pairs.col.tolist(), strict=True):
            found[row].add(column)
        return found
    keys = relation.keys_N.tolist()
    return [{u for u, other in enumerate(keys) if other == key != -1} - {v} for v, key in enumerate(keys)]


def within(neighbours: Sequence[set[int]], node: int, hops: int) -> set[int]:
    """Return the nodes within some hops of a node, itself among them."""
    found = {node}
    for _ in range(hops):
        found = found.union(*(neighbours[u] for u in found))
    return found


def groups_of(drawn: Drawn, neighbours: Sequence[set[int]], node: int, hops: int) -> list[list[int]]:
    """Return the nodes of each group within some hops of a node."""
    groups: list[list[int]] = [[] for _ in range(drawn.classes + 1)]
    for u in sorted(within(neighbours, node, hops)):
        hidden = u == node or (drawn.folds is not None and drawn.folds[u] == drawn.folds[node])
        groups[drawn.classes if hidden or drawn.visible[u] < 0 else drawn.visible[u]].append(u)
    return groups


def token(features: Any, nodes: Sequence[int], size: int) -> Any:
    """Return mean features and log1p of a size."""
    mean = features[list(nodes)].mean(0) if nodes else np.zeros(features.shape[1])
    return np.append(mean, math.log1p(size))


def naive_inputs(drawn: Drawn) -> Any:
    """Return the inputs of all nodes in float64."""
    shape = (len(drawn.features), drawn.classes + 2, len(drawn.relations), drawn.hops + 1, drawn.features.shape[1] + 1)
    inputs = np.zeros(shape)
    inputs[:, drawn.classes, :, 0, :-1] = drawn.features[:, None]
    for r, relation in enumerate(drawn.relations.values()):
        if drawn.times is None:
            _fill(inputs[:, :, r], drawn, neighbours_of(relation))
        else:
            _replay(inputs[:, :, r], drawn, relation)
    return inputs


def _fill(inputs: Any, drawn: Drawn, neighbours: list[set[int]]) -> None:
    number = len(neighbours)
    into = [len(near) + 1 for near in neighbours]
    out = [1 + sum(v in near for near in neighbours) for v in range(number)]
    dense = np.array(
        [[(u in neighbours[v] or u == v) / math.sqrt(into[v] * out[u]) for u in range(number)] for v in range(number)]
    )
    values = drawn.features
    for hop in range(1, drawn.hops + 1):
        values = dense @ values
        for v in range(number):
            for group, members in enumerate(groups_of(drawn, neighbours, v, hop)):
                inputs[v, group, hop] = token(drawn.features, members, len(members))
            inputs[v, -1, hop] = np.append(values[v], math.log1p(len(neighbours[v])))


def _replay(inputs: Any, drawn: Drawn, relation: Any) -> None:
    """Score each node, count it, and move it to its class when its label comes, one event after the other.

    What a node sees depends on its fold, so lists of nodes are kept instead of sums.
    """
    arrivals = sorted(range(len(drawn.features)), key=lambda v: (drawn.times[v], v))
    events: list[tuple[float, int, int, int]] = [(drawn.times[v], 1, at, v) for at, v in enumerate(arrivals)]
    events += [
        (drawn.times[v] + drawn.delay, 0, at, v) for at, v in enumerate(arrivals) if drawn.visible[v] >= 0 < drawn.delay
    ]
    counted: dict[int, list[int]] = {}
    known: set[int] = set()
    for _, arrives, _, v in sorted(events):
        if not arrives:
            known.add(v)
            continue
        key = int(relation.keys_N[v])
        earlier = counted.setdefault(key, []) if key >= 0 else []
        groups: list[list[int]] = [[] for _ in range(drawn.classes + 1)]
        for u in earlier:
            seen = u in known and (drawn.folds is None or drawn.folds[u] != drawn.folds[v])
            groups[drawn.visible[u] if seen else drawn.classes].append(u)
        for group, members in enumerate(groups):
            inputs[v, group, 1] = token(drawn.features, members, len(members))
        inputs[v, -1, 1] = token(drawn.features, [*earlier, v], len(earlier))
        earlier.append(v)
        if drawn.visible[v] >= 0 and not drawn.delay:
            known.add(v)


def keyword_arguments(drawn: Drawn) -> Mapping[str, Any]:
    """Return the arguments of `node_inputs`."""
    return {
        "features_NF": drawn.features,
        "relations": drawn.relations,
        "visible_N": drawn.visible,
        "classes": drawn.classes,
        "hops": drawn.hops,
        "folds_N": drawn.folds,
        "times_N": drawn.times,
        "label_delay": drawn.delay,
    }
