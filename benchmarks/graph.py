"""What the inputs of nodes cost beside a loop over nodes, and what they cost in time and memory as edges grow.

    python benchmarks/graph.py --out graph.json --markdown graph.md

A graph of YelpChi's size is drawn: every relation is a shared key with about as many edges as YelpChi's, and some
keys are far more common than others, so that all forms give the same inputs, which is checked. One thread.

- loop: the published algorithm: neighbours and their neighbours as Python sets, node by node, and one mean for each
  group. It is timed on some nodes and extrapolated to all. It leaves out propagated features, which all others have.
- shared keys: sums by key, two hops.
- edges: sparse products, one and two hops.

A factor is the time of the loop divided by a median time. Goals are for the loop over two hops, which is the published
depth; the factor to the loop over as many hops is beside it. Edges that a key made have many twins, which further hops
use; `two hops, no twins` adds an edge to each node, which leaves none.

Growth: one relation on as many nodes, a separate process for each number of edges. `MB before` is the peak of drawing
the graph, `MB` that of the inputs too. Two hops are left out above `--two-hops-up-to` edges.
"""

from __future__ import annotations

import argparse
import datetime
import functools
import json
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from scipy.sparse import csr_array

from lorkit.decompose.data.graphs.graph import Edges, Keys, Relation, build_edges
from lorkit.decompose.data.graphs.tokens import node_inputs
from lorkit.decompose.machine import fingerprint, tool_versions

NODES, FEATURES, CLASSES, TRAIN = 45_954, 32, 2, 0.4
YELP = {"rur": 98_630, "rtr": 800_000, "rsr": 6_800_000}
"""Edges by relation; rtr is what the specification stands in for it."""
GROWTH = (1_000_000, 6_800_000, 20_000_000, 50_000_000)
GOALS = {"shared keys": 500, "edges, 1 hop": 150, "edges, 2 hops": 30, "MB": 16_000}


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--nodes", type=int, default=NODES)
    arguments.add_argument("--scale", type=float, default=1.0, help="of the edges of the relations that are compared")
    arguments.add_argument("--sample", type=int, default=300, help="nodes of the loop")
    arguments.add_argument("--repeats", type=int, default=3, help="runs of everything but the loop")
    arguments.add_argument("--edges", type=int, nargs="*", default=GROWTH, help="edges whose time and memory is taken")
    arguments.add_argument("--two-hops-up-to", type=int, default=6_800_000, metavar="EDGES")
    arguments.add_argument("--out", type=Path, help="write the JSON document to this file")
    arguments.add_argument("--markdown", type=Path, help="write the tables to this file")
    arguments.add_argument("--cost", help=argparse.SUPPRESS)  # what a separate process does
    options = arguments.parse_args()
    if options.cost:
        print(json.dumps(cost(**json.loads(options.cost))))
        return
    document: dict[str, Any] = {
        "benchmark": "graph",
        "date": datetime.date.today().isoformat(),
        "machine": fingerprint(),
        "tools": tool_versions(),
        "nodes": options.nodes,
        "features": FEATURES,
        "goals": GOALS,
        "comparison": comparison(options.nodes, options.scale, options.sample, options.repeats),
        "growth": growth(options.nodes, options.edges, options.two_hops_up_to),
    }
    text = markdown(document)
    if options.out:
        options.out.write_text(json.dumps(document), encoding="utf-8")
    if options.markdown:
        options.markdown.write_text(text, encoding="utf-8")
    print(json.dumps(document, indent=1))
    print(text)


def draw_nodes(nodes: int) -> tuple[Any, Any]:
    """Return features and visible labels."""
    random = np.random.default_rng(0)
    labels = (random.random(nodes) < 0.145).astype(np.int64)
    return random.normal(size=(nodes, FEATURES)), np.where(random.random(nodes) < TRAIN, labels, -1)


def draw_keys(nodes: int, edges: float, seed: int) -> Keys:
    """Draw a key of each node, so that about `edges` ordered pairs share one; some keys are far more common."""
    random = np.random.default_rng(seed)
    count = max(1, round(nodes**2 * np.exp(1) / edges))  # the popularities' sum of squares is e / count
    shares = random.lognormal(size=count)
    return Keys(random.choice(count, size=nodes, p=shares / shares.sum()), tuple(map(str, range(count))))


def cliques(relation: Keys) -> Edges:
    """Return the edges of a shared key, without more memory than they take."""
    keys = relation.keys_N
    counts = np.bincount(keys)
    starts = np.concatenate([[0], np.cumsum(counts[keys] - 1)])
    indices = np.empty(starts[-1], dtype=np.int32)
    order = np.argsort(keys, kind="stable").astype(np.int32)
    for members in np.split(order, np.cumsum(counts)[:-1]):
        size = len(members)
        others = np.broadcast_to(members, (size, size))[~np.eye(size, dtype=bool)].reshape(size, max(size - 1, 0))
        indices[starts[members][:, None] + np.arange(others.shape[1])] = others
    ones = np.ones(len(indices), dtype=np.uint8)
    return Edges(csr_array((ones, indices, starts.astype(np.int32)), shape=(len(keys), len(keys))))


def without_twins(relation: Edges, seed: int) -> Edges:
    """Add an edge from each node to a random one."""
    pairs = relation.neighbours.tocoo()
    nodes = relation.neighbours.shape[0]
    random = np.random.default_rng(seed).integers(0, nodes, nodes)
    ends = np.concatenate([pairs.col, random]), np.concatenate([pairs.row, np.arange(nodes)])
    return build_edges(*ends, nodes, where="drawn")[0]


def comparison(nodes: int, scale: float, sample: int, repeats: int) -> dict[str, Any]:
    """Time the forms on one graph, and check that they agree."""
    features, visible = draw_nodes(nodes)
    keys = {name: draw_keys(nodes, scale * count, seed) for seed, (name, count) in enumerate(YELP.items())}
    edges = {name: cliques(one) for name, one in keys.items()}
    lone = {name: without_twins(one, seed) for seed, (name, one) in enumerate(edges.items())}
    arms: dict[str, tuple[Mapping[str, Relation], int]] = {
        "shared keys": (keys, 2),
        "edges, 1 hop": (edges, 1),
        "edges, 2 hops": (edges, 2),
        "edges, 2 hops, no twins": (lone, 2),
    }
    chosen = np.random.default_rng(9).permutation(nodes)[:sample]
    loops = {hops: timed_loop(features, edges, visible, hops, chosen) for hops in (1, 2)}
    rows = []
    for name, (relations, hops) in arms.items():
        work = functools.partial(node_inputs, features, relations, visible, CLASSES, hops)
        spent, inputs = timed(work, repeats)
        median = statistics.median(spent)
        apart = None
        if relations is not lone:
            found = inputs[chosen][:, : CLASSES + 1, :, 1:, :FEATURES]
            apart = float(np.abs(found - loops[hops][1]).max())
        factors = {f"times_loop_{k}": seconds * nodes / sample / median for k, (seconds, _) in loops.items()}
        about = {"form": name, "hops": hops, "goal": GOALS.get(name), "largest_difference": apart}
        rows.append({**about, "seconds": median, "samples_s": spent, **factors})
        print(f"{name}: {rows[-1]['seconds']:.3f} s", file=sys.stderr)
    return {
        "edges": {name: int(one.neighbours.nnz) for name, one in edges.items()},
        "loop_nodes": sample,
        "loop_s": {str(hops): spent * nodes / sample for hops, (spent, _) in loops.items()},
        "loop_ms_per_node": {str(hops): 1000 * spent / sample for hops, (spent, _) in loops.items()},
        "forms": rows,
    }


def timed(work: Callable[[], Any], repeats: int) -> tuple[list[float], Any]:
    spent, found = [], None
    for _ in range(repeats):
        began = time.perf_counter()
        found = work()
        spent.append(time.perf_counter() - began)
    return spent, found


def timed_loop(features: Any, edges: Mapping[str, Edges], visible: Any, hops: int, chosen: Any) -> tuple[float, Any]:
    """Time the means of the groups of some nodes, node by node; return seconds and (M, C+1, R, K, F)."""
    rows = [(one.neighbours.indptr, one.neighbours.indices) for one in edges.values()]
    groups = np.where(visible < 0, CLASSES, visible)
    found = np.zeros((len(chosen), CLASSES + 1, len(rows), hops, FEATURES))
    began = time.perf_counter()
    for at, node in enumerate(chosen):
        for relation, (starts, indices) in enumerate(rows):
            near = {int(node)}
            for hop in range(hops):
                near = near.union(*(indices[starts[u] : starts[u + 1]].tolist() for u in near))
                members = np.fromiter(near, dtype=np.int64)
                own = np.where(members == node, CLASSES, groups[members])
                for group in range(CLASSES + 1):
                    if (own == group).any():
                        found[at, group, relation, hop] = features[members[own == group]].mean(0)
    return time.perf_counter() - began, found


def growth(nodes: int, edges: Sequence[int], two_hops_up_to: int) -> list[dict[str, Any]]:
    """Take time and peak memory by number of edges, each in a process of its own."""
    rows = []
    for count in edges:
        for form, hops in (("shared keys", 1), ("edges", 1), ("edges", 2)):
            if hops == 2 and count > two_hops_up_to:
                continue
            given = json.dumps({"nodes": nodes, "edges": count, "form": form, "hops": hops})
            command = [sys.executable, __file__, "--cost", given]
            done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=3600)
            rows.append(json.loads(done.stdout))
            print(f"{count} edges, {form}, {hops} hops: {rows[-1]['seconds']:.2f} s", file=sys.stderr)
    return rows


def cost(*, nodes: int, edges: int, form: str, hops: int) -> dict[str, Any]:
    """Return the time and the peak resident memory of the inputs of all nodes for one relation."""
    features, visible = draw_nodes(nodes)
    keys = draw_keys(nodes, edges, 0)
    relation: Relation = keys if form == "shared keys" else cliques(keys)
    drawn = int(relation.neighbours.nnz) if isinstance(relation, Edges) else pairs_of(keys)
    before = _peak_mb()
    (spent,), _ = timed(lambda: node_inputs(features, {"one": relation}, visible, CLASSES, hops), 1)
    return {"form": form, "hops": hops, "edges": drawn, "seconds": spent, "mb_before": before, "mb": _peak_mb()}


def pairs_of(keys: Keys) -> int:
    counts = np.bincount(keys.keys_N)
    return int((counts * (counts - 1)).sum())


def _peak_mb() -> float:
    """Return the peak resident memory of this process alone."""
    if sys.platform == "darwin":
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    # ru_maxrss of a new process begins at the peak of the process that started it; VmHWM does not
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    (peak,) = (line.split()[1] for line in lines if line.startswith("VmHWM:"))
    return int(peak) * 1024 / 1e6


def markdown(document: dict[str, Any]) -> str:
    found = document["comparison"]
    loops = ", ".join(
        f"{hops} {'hop' if hops == '1' else 'hops'} {seconds:.1f} s ({found['loop_ms_per_node'][hops]:.2f} ms per node)"
        for hops, seconds in found["loop_s"].items()
    )
    lines = [
        f"{document['nodes']} nodes, {document['features']} features, edges "
        + ", ".join(f"{name} {count}" for name, count in found["edges"].items())
        + f". The loop, extrapolated from {found['loop_nodes']} nodes: {loops}.",
        "",
        "| form | s | times the loop of 2 hops | goal | times the loop of as many hops | largest difference |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    for row in found["forms"]:
        apart = "" if row["largest_difference"] is None else f"{row['largest_difference']:.1e}"
        goal = "" if row["goal"] is None else f">= {row['goal']}"
        same = row[f"times_loop_{row['hops']}"]
        lines.append(_line([row["form"], f"{row['seconds']:.3f}", f"{row['times_loop_2']:.0f}", goal, f"{same:.0f}",
                            apart]))  # fmt: skip
    lines += ["", "| edges | form | hops | s | µs per edge | MB before | MB |", "|---:|---|---:|---:|---:|---:|---:|"]
    for row in document["growth"]:
        cells = [row["edges"], row["form"], row["hops"], f"{row['seconds']:.2f}"]
        memory = [f"{row['mb_before']:.0f}", f"{row['mb']:.0f}"]
        lines.append(_line([*cells, f"{1e6 * row['seconds'] / row['edges']:.3f}", *memory]))
    return "\n".join(lines) + "\n"


def _line(cells: Sequence[object]) -> str:
    return "| " + " | ".join(map(str, cells)) + " |"


if __name__ == "__main__":
    main()
