"""Split the labelled nodes of a graph into train, val and test.

A random split lets the labels of a node's neighbours, or of its own entity, answer for it. The other splits keep
entities, times or neighbours apart. Shapes: N nodes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.sparse import coo_array, csr_array
from scipy.sparse.csgraph import connected_components

from lorkit.decompose.artifacts.arrays import Ints
from lorkit.decompose.data.graphs.graph import NO_KEY, PARTS, Edges, Graph, Keys, relation_of
from lorkit.decompose.data.graphs.separation import grow_apart, nodes_between, order_by_community, pairs_within
from lorkit.decompose.errors import DataError, UsageError, plural, unknown

SHARES = {"train": 0.4, "val": 0.1, "test": 0.5}
SEED = 717
"""Shares and seed of the random split of GAGA and RAGFormer."""
KINDS = ("stated", "random", "entity", "temporal", "neighbour")
_LARGE = 0.05
"""Share of the labelled nodes from which a component is cut instead of kept whole."""
_LEAST = 0.05
"""Share of the labelled nodes that each side of a split by neighbours must have."""


@dataclass(frozen=True, kw_only=True)
class NodeSplit:
    """A split of one graph.

    Attributes:
        kind: One of `KINDS`.
        parts: (N,) "train", "val" or "test"; None for a node without a label, and for one that is left out.
        notices: What the user should know about it.
    """

    kind: str
    parts: tuple[str | None, ...]
    notices: tuple[str, ...] = ()

    def nodes(self, part: str) -> Ints:
        """Return the indices of the nodes of a part, ascending."""
        return np.array([node for node, own in enumerate(self.parts) if own == part], dtype=np.int64)


def split_graph(
    graph: Graph, kind: str | None = None, *, entities: Sequence[str] = (), hops: int = 1, seed: int = SEED
) -> NodeSplit:
    """Split a graph.

    Args:
        graph: The graph.
        kind: One of `KINDS`; None takes the parts that the source states, else the official random split.
        entities: Relations whose keys `entity` keeps together; by default the first one by key.
        hops: Hops within which `neighbour` leaves no training node around a node of another part.
        seed: Seed of the splits that draw.

    Raises:
        UsageError: An unknown kind, or one for which the graph lacks parts, keys, times or edges.
        DataError: A part without any node, or without one of a class that it needs.
    """
    chosen = kind or ("stated" if any(graph.parts) else "random")
    if chosen == "stated":
        split = _stated(graph)
    elif chosen == "random":
        split = _random(graph, seed)
    elif chosen == "entity":
        split = _by_entity(graph, entities, seed)
    elif chosen == "temporal":
        split = _by_time(graph)
    elif chosen == "neighbour":
        split = _by_neighbour(graph, hops, seed)
    else:
        raise unknown("split", chosen, KINDS)
    _check_classes(graph, split)
    return split


def possible_splits(graph: Graph) -> tuple[str, ...]:
    """Return the kinds of splits for which a graph has what they need."""
    edges = [isinstance(relation, Edges) for relation in graph.relations.values()]
    allowed = {
        "stated": any(graph.parts),
        "random": True,
        "entity": not all(edges),
        "temporal": graph.times_N is not None,
        "neighbour": all(edges),
    }
    return tuple(kind for kind in KINDS if allowed[kind])


def _stated(graph: Graph) -> NodeSplit:
    missing = [part for part in PARTS if part not in graph.parts]
    if missing:
        raise UsageError(
            f"{graph.origin} states no {' and '.join(missing)} part",
            required="all of train, val and test",
            fix="state them, or choose another split",
        )
    parts = tuple(part if known else None for part, known in zip(graph.parts, graph.labelled_N.tolist(), strict=True))
    return NodeSplit(kind="stated", parts=parts)


def _random(graph: Graph, seed: int) -> NodeSplit:
    """Split as GAGA and RAGFormer do: the first 40 % of a permutation train, the last 10 % val."""
    order = np.random.RandomState(seed).permutation(np.flatnonzero(graph.labelled_N))
    train, val = int(len(order) * SHARES["train"]), int(len(order) * SHARES["val"])
    test = len(order) - val
    return NodeSplit(kind="random", parts=_parts(graph, train=order[:train], val=order[test:], test=order[train:test]))


def _by_entity(graph: Graph, entities: Sequence[str], seed: int) -> NodeSplit:
    """Keep together the nodes that share a key, also through others; components go to parts in random order."""
    by_key = [name for name, relation in graph.relations.items() if isinstance(relation, Keys)]
    names = tuple(entities) or tuple(by_key[:1])
    relations = {name: relation_of(graph, name) for name in names}
    keys = {name: relation.keys_N for name, relation in relations.items() if isinstance(relation, Keys)}
    if not keys or len(keys) < len(names):
        without = ", ".join(name for name in names if name not in keys) or "every relation"
        raise UsageError(
            f"{graph.origin}: {without} is by edges, without keys",
            required=f"relations by key: {', '.join(by_key) or '(none here)'}",
            fix="name one of them" if by_key else "choose the split `neighbour`",
        )
    nodes = np.flatnonzero(graph.labelled_N)
    component = join_keys([key_N[nodes] for key_N in keys.values()])
    part = _fill(component, seed)
    largest = np.bincount(component).max(initial=0) / max(len(nodes), 1)
    if largest > SHARES["test"]:
        raise DataError(
            f"{graph.origin}: {largest:.0%} of the labelled rows hang together by {', '.join(names)}",
            required=f"entities of at most {SHARES['test']:.0%}",
            fix="keep fewer relations together, or choose another split",
        )
    parts = _parts(graph, **{name: nodes[part == number] for number, name in enumerate(PARTS)})
    return NodeSplit(kind="entity", parts=parts, notices=(f"the entities kept together are {', '.join(names)}",))


def join_keys(keys: Sequence[Ints]) -> Ints:
    """Return the entity of each node from 0, given its keys in some relations.

    Nodes that share a key are of one entity, also through others; a missing key joins nothing.
    """
    count = len(keys[0])
    ends, offset = [], count
    for key_N in keys:
        stated = np.flatnonzero(key_N != NO_KEY)
        ends.append(np.stack([stated, key_N[stated] + offset]))
        offset += int(key_N.max(initial=NO_KEY)) + 1
    rows, columns = np.concatenate(ends, axis=1)
    links = coo_array((np.ones(len(rows), dtype=np.int8), (rows, columns)), shape=(offset, offset))
    found: Ints = np.unique(connected_components(links, directed=False)[1][:count], return_inverse=True)[1]
    return found.astype(np.int64)


def _fill(component: Ints, seed: int) -> Ints:
    """Return a part's number for each node: components in random order, each to the part that lacks most by share."""
    sizes = np.bincount(component)
    wanted = np.array([SHARES[part] for part in PARTS]) * len(component)
    filled = np.zeros(len(PARTS))
    chosen = np.zeros(len(sizes), dtype=np.int64)
    for number in np.random.default_rng(seed).permutation(len(sizes)).tolist():
        room = wanted - filled
        # a large component would overfill val, where no larger part has room for it
        lacking = np.where(room >= sizes[number], room / wanted, -1) if (room >= sizes[number]).any() else room
        chosen[number] = int(lacking.argmax())
        filled[chosen[number]] += sizes[number]
    return chosen[component]


def _by_time(graph: Graph) -> NodeSplit:
    """Train on the first 40 % of the labelled nodes by time, then val, then test; equal times stay together."""
    if graph.times_N is None:
        raise UsageError(f"{graph.origin} has no times", required="a time for each row", fix="state `time`")
    nodes = np.flatnonzero(graph.labelled_N)
    order = nodes[np.argsort(graph.times_N[nodes], kind="stable")]
    times = graph.times_N[order]
    starts = np.flatnonzero(np.diff(times, prepend=-np.inf) > 0)
    if len(starts) < len(PARTS):
        raise DataError(
            f"{graph.origin} has labels at {plural(len(starts), 'time')}",
            required="three or more different times",
            fix="choose another split",
        )
    train = int(np.abs(starts[1:-1] - SHARES["train"] * len(order)).argmin()) + 1
    wanted = (SHARES["train"] + SHARES["val"]) * len(order)
    val = train + 1 + int(np.abs(starts[train + 1 :] - wanted).argmin())
    first, second = starts[train], starts[val]
    parts = _parts(graph, train=order[:first], val=order[first:second], test=order[second:])
    return NodeSplit(kind="temporal", parts=parts)


def _by_neighbour(graph: Graph, hops: int, seed: int) -> NodeSplit:
    """Leave no training node within some hops of another labelled one, in any relation and direction.

    Small components stay whole, a large one is cut. Val is drawn from the other side, so that it is as far from
    training as test is.
    """
    relations = [relation for relation in graph.relations.values() if isinstance(relation, Edges)]
    if len(relations) < len(graph.relations):
        raise UsageError(
            f"{graph.origin} has relations by key", required="edges", fix="choose the split `entity` or `temporal`"
        )
    nodes = np.flatnonzero(graph.labelled_N)
    pairs = pairs_within(relations, nodes, hops)
    component = connected_components(pairs, directed=False)[1]
    sizes = np.bincount(component, minlength=1)
    rng = np.random.default_rng(seed)
    side, left_out = np.zeros(len(nodes), dtype=bool), np.zeros(len(nodes), dtype=bool)
    large = np.flatnonzero(sizes > max(1, _LARGE * len(nodes)))
    small = rng.permutation(np.setdiff1d(np.arange(len(sizes)), large))
    goal = SHARES["train"] * sizes[small].sum()
    side[np.isin(component, small[np.cumsum(sizes[small]) <= goal])] = True
    for number in large.tolist():
        members = np.flatnonzero(component == number)
        own = csr_array(pairs[members][:, members])
        if hops == 1:
            side[members], left_out[members] = _cut(own, graph.labels_N[nodes[members]], len(graph.classes), seed)
        else:
            side[members], left_out[members] = grow_apart(own, SHARES["train"])
    others = rng.permutation(np.flatnonzero(~side & ~left_out))
    val = round(len(others) * SHARES["val"] / (1 - SHARES["train"]))
    train = np.flatnonzero(side & ~left_out)
    notices = _about_sides(graph, (nodes[train], nodes[others]), int(left_out.sum()), hops)
    parts = _parts(graph, train=nodes[train], val=nodes[others[:val]], test=nodes[others[val:]])
    return NodeSplit(kind="neighbour", parts=parts, notices=notices)


def _about_sides(graph: Graph, sides: tuple[Ints, Ints], left_out: int, hops: int) -> tuple[str, ...]:
    """Return what the user should know about the training nodes and the others; raise DataError for too few of them."""
    train, others = sides
    total = len(train) + len(others) + left_out
    if min(len(train), len(others)) < _LEAST * total:
        fewer = "keep fewer hops apart with split.hops, or " if hops > 1 else ""
        raise DataError(
            f"{graph.origin}, split neighbour: of {total} labelled nodes {len(train)} for training and {len(others)}"
            f" for val and test are more than {plural(hops, 'hop')} apart",
            required=f"{_LEAST:.0%} for each",
            fix=f"{fewer}choose another split",
        )
    counts = [np.bincount(graph.labels_N[side], minlength=len(graph.classes)) for side in sides]
    rarest = int((counts[0] + counts[1]).argmin())
    one, other = (f"{each[rarest] / each.sum():.1%}" for each in counts)
    return (
        f"{plural(left_out, 'labelled node')} ({left_out / total:.0%}) left out, so that no node of val or test is"
        f" within {plural(hops, 'hop')} of train",
        f"class '{graph.classes[rarest]}' is {one} of train, and {other} of val and test",
    )


def _cut(adjacency: csr_array, labels: Ints, classes: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return which nodes of a connected graph are on the training side, and which are left out.

    It is cut along an order in which neighbours are near; the end that becomes the training side is the one with class
    shares nearer to the rest's, and the fewest nodes that separate the sides are left out.
    """
    order = order_by_community(adjacency, seed=seed)
    count = round(SHARES["train"] * len(order))
    found = []
    for end in (order[:count], order[len(order) - count :]):
        side = np.zeros(len(order), dtype=bool)
        side[end] = True
        out = nodes_between(adjacency, side)
        shares = [np.bincount(labels[one & ~out], minlength=classes) for one in (side, ~side)]
        one, other = (counts / max(counts.sum(), 1) for counts in shares)
        found.append((float(np.abs(one - other).sum()), side, out))
    _, side, out = min(found, key=lambda item: item[0])
    return side, out


def _parts(graph: Graph, **nodes: Ints) -> tuple[str | None, ...]:
    numbers = np.full(len(graph), len(PARTS))
    for number, part in enumerate(PARTS):
        numbers[nodes[part]] = number
    return tuple((*PARTS, None)[number] for number in numbers.tolist())


def _check_classes(graph: Graph, split: NodeSplit) -> None:
    """Refuse a training part without a class, and other parts with fewer than two: nothing ranks them."""
    for part in PARTS:
        present = np.unique(graph.labels_N[split.nodes(part)])
        missing = [name for number, name in enumerate(graph.classes) if number not in present]
        if missing and (part == "train" or len(present) < 2):
            raise DataError(
                f"{graph.origin}, split {split.kind}: class '{missing[0]}' has no node in the {part} part",
                required="every class in train, two or more in val and test",
                fix="choose another split, or add labels",
            )
