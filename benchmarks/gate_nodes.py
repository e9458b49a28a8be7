"""Error rates and power of the gate's test of average precision where entities have several nodes, simulated.

    python benchmarks/gate_nodes.py --workers 2                     # the tables of docs/benchmarks/gate.md
    LORKIT_DATA=... python benchmarks/gate_nodes.py --data          # what the test parts of three graphs count like

Entities have one row each, five, a geometric number of mean 5, or a log-normal one (mean 5.6, some above 60). Positive
nodes cluster in entities. At the boundary the true drop equals the allowed one, so that every PASS is false: the scores
get noise (`spread`), some entities lose their positive nodes (`lost`) or have their negative nodes before all others
(`raised`), or this happens only to the largest tenth (`large raised`) or hundredth (`largest raised`) of the entities.
For power only rounding changes.

Intervals: `gate` is the gate's own. `bootstrap` is the same without a further entity, `stratified` resamples within
thirds of entities by size, `jackknife` takes the influence of each entity on the drop and a t-distribution, and
`further` adds an entity that lost all, of the size of a random one instead of the worst.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
from scipy.stats import t as student

from lorkit.decompose.config import GraphSource
from lorkit.decompose.data.graphs.reading import read_graph
from lorkit.decompose.data.graphs.splits import split_graph
from lorkit.decompose.metrics.bootstrap import sum_groups
from lorkit.decompose.metrics.paired_precision import _Ranking, case_values, paired_precision, unseen_group

ALLOWED = 0.05
METHODS = ("gate", "bootstrap", "stratified", "jackknife", "further")
_REPLICATES = 400
_BATCH = 10
_UPPER = 0.975
_LARGE = {"large raised": 0.9, "largest raised": 0.99}
"""Quantile of the sizes from which entities may lose."""
SIZES: dict[str, Callable[[np.random.Generator, int], np.ndarray]] = {
    "1": lambda rng, count: np.ones(count, dtype=int),
    "5": lambda rng, count: np.full(count, 5),
    "geometric": lambda rng, count: rng.geometric(0.2, count),
    "log-normal": lambda rng, count: np.maximum(1, rng.lognormal(1.0, 1.2, count).round().astype(int)),
}
ENTITIES = {"1": [1000, 3000], "5": [300, 1000], "geometric": [300, 1000, 3000], "log-normal": [300, 1000]}
LOSSES = ("spread", "lost", "raised", *_LARGE)


class Drawn(NamedTuple):
    """Simulated nodes: whether each is positive, the scores of both networks, and the entity of each."""

    positive: np.ndarray
    baseline: np.ndarray
    candidate: np.ndarray
    entity: np.ndarray


def draw(rng: np.random.Generator, sizes: str, entities: int, loss: str | None, share: float) -> Drawn:
    """Draw nodes; `share` of the entities lose, or is the standard deviation of spread noise."""
    size_G = SIZES[sizes](rng, entities)
    entity_N = np.repeat(np.arange(entities), size_G)
    count = len(entity_N)
    positive_N = rng.random(count) < np.where(rng.random(entities) < 0.15, 0.6, 0.03)[entity_N]
    baseline_N = 1.6 * positive_N + 0.5 * rng.normal(size=entities)[entity_N] + rng.normal(size=count)
    candidate_N = baseline_N + 0.05 * rng.normal(size=count)
    if loss == "spread":
        candidate_N = candidate_N + share * rng.normal(size=count)
    elif loss is not None:
        may_G = size_G >= np.quantile(size_G, _LARGE.get(loss, 0.0))
        hit_N = ((rng.random(entities) < share) & may_G)[entity_N]
        changed_N = hit_N & (positive_N if loss == "lost" else ~positive_N)
        far_N = (-20.0 if loss == "lost" else 20.0) + rng.normal(size=count)
        candidate_N = np.where(changed_N, far_N, candidate_N)
    return Drawn(positive_N, baseline_N, candidate_N, entity_N)


def share_at_boundary(sizes: str, loss: str) -> tuple[float, float]:
    """Return the share at which the true drop is about the allowed one, and the drop then, of many entities."""
    count = 300_000 if sizes == "1" else 60_000
    low, high = 0.0, 4.0 if loss == "spread" else 1.0
    for _ in range(20):
        middle = (low + high) / 2
        low, high = (middle, high) if _true_drop(sizes, count, loss, middle, 0) < ALLOWED else (low, middle)
    return high, float(np.mean([_true_drop(sizes, count, loss, high, seed) for seed in range(1, 6)]))


def _true_drop(sizes: str, count: int, loss: str, share: float, seed: int) -> float:
    drawn = draw(np.random.default_rng([seed, 99]), sizes, count, loss, share)
    return _precision(drawn.positive, drawn.baseline) - _precision(drawn.positive, drawn.candidate)


def _precision(positive_N: np.ndarray, score_N: np.ndarray) -> float:
    found_N = positive_N[np.argsort(-score_N, kind="stable")]
    return float((np.cumsum(found_N) / np.arange(1, len(found_N) + 1))[found_N].mean())


def upper_ends(drawn: Drawn, seed: int) -> dict[str, float]:
    """Return the upper end of the drop's interval by each method, and the effective number of entities."""
    positive_N, *sides, entity_N = drawn
    found = paired_precision(*(one[:, None] for one in (positive_N, *sides)), entity_N, seed=seed)
    assert found.uncertainty is not None
    rng = np.random.default_rng(seed)
    size_G = np.bincount(entity_N)
    weight_RG = rng.standard_exponential((_REPLICATES, len(size_G)))
    within_RG = weight_RG.copy()
    stratum_G = np.searchsorted(np.quantile(size_G, [1 / 3, 2 / 3]), size_G)
    for stratum in np.unique(stratum_G):
        own_G = stratum_G == stratum
        within_RG[:, own_G] *= own_G.sum() / weight_RG[:, own_G].sum(axis=1, keepdims=True)
    one, two = (_Ranking(positive_N, side) for side in sides)
    none_R, none = np.zeros(_REPLICATES), (0.0, 0.0)
    drops = {
        name: one.ends(own_RG[:, entity_N], none_R, none).value_R - two.ends(own_RG[:, entity_N], none_R, none).value_R
        for name, own_RG in (("bootstrap", weight_RG), ("stratified", within_RG))
    }
    drawn_R, scale_R = rng.integers(0, len(size_G), _REPLICATES), rng.standard_exponential(_REPLICATES)
    counts = tuple(np.bincount(entity_N, kind_N)[drawn_R] for kind_N in (positive_N, ~positive_N))
    weight_RN = weight_RG[:, entity_N]
    drops["further"] = one.ends(weight_RN, scale_R, counts).right_R - two.ends(weight_RN, scale_R, counts).wrong_R
    value_N = case_values(positive_N, sides[0]) - case_values(positive_N, sides[1])
    influence_G = sum_groups(value_N - value_N.mean(), entity_N, len(size_G)) / len(entity_N)
    error = float(np.sqrt((influence_G**2).sum() * len(size_G) / (len(size_G) - 1)))
    return {
        "gate": found.ci[1],
        "jackknife": found.drop + float(student.ppf(_UPPER, len(size_G) - 1)) * error,
        **{name: float(np.quantile(drop_R, _UPPER)) for name, drop_R in drops.items()},
        "effective": 1.0 / found.uncertainty.unseen.share,
        "nodes": float(len(entity_N)),
    }


class Work(NamedTuple):
    """Some draws of one row of a table."""

    sizes: str
    entities: int
    loss: str | None
    share: float
    true: float
    first: int
    last: int


def _count(work: Work) -> tuple[Work, dict[str, float]]:
    sums = dict.fromkeys((*METHODS, "effective", "nodes"), 0.0)
    for seed in range(work.first, work.last):
        rng = np.random.default_rng([seed, work.entities])
        found = upper_ends(draw(rng, work.sizes, work.entities, work.loss, work.share), seed)
        for name in sums:
            sums[name] += found[name] < work.true if name in METHODS else found[name]
    return work, sums


def simulate(entities: dict[str, list[int]], draws: int, workers: int) -> list[dict[str, object]]:
    """Return a row for each kind of sizes, number of entities and loss, None for power; progress goes to stderr."""
    work: list[Work] = []
    for sizes, counts in entities.items():
        for loss in (*LOSSES, None):
            if loss in _LARGE and len(set(SIZES[sizes](np.random.default_rng(0), 99))) == 1:
                continue
            share, true = (0.0, ALLOWED) if loss is None else share_at_boundary(sizes, loss)
            work += [
                Work(sizes, count, loss, share, true, first, min(first + _BATCH, draws))
                for count in counts
                for first in range(0, draws, _BATCH)
            ]
    totals: dict[tuple[str, int, str | None], dict[str, float]] = {}
    begin = time.monotonic()
    with multiprocessing.Pool(workers) as pool:
        for done, (one, sums) in enumerate(pool.imap_unordered(_count, work), 1):
            kept = totals.setdefault(one[:3], dict.fromkeys(sums, 0.0))
            for name, value in sums.items():
                kept[name] += value
            print(f"\r{done / len(work):.0%} {time.monotonic() - begin:.0f} s", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)
    order = dict.fromkeys(one[:3] for one in work)
    return [
        {"sizes": key[0], "entities": key[1], "loss": key[2], "draws": draws}
        | {name: value / draws for name, value in totals[key].items()}
        for key in order
    ]


def _table(rows: list[dict[str, object]]) -> str:
    lines = [
        f"| rows per entity | entities | nodes | count like | loss | {' | '.join(METHODS)} |",
        f"|---|---:|---:|---:|---|{'---:|' * len(METHODS)}",
    ]
    for row in rows:
        rates = " | ".join(f"{100 * float(str(row[name])):.1f} %" for name in METHODS)
        about = f"{row['entities']:,} | {float(str(row['nodes'])):,.0f} | {float(str(row['effective'])):.0f}"
        lines.append(f"| {row['sizes']} | {about} | {row['loss'] or 'none'} | {rates} |")
    return "\n".join(lines)


def counted_like() -> list[str]:
    """Return what the nodes and entities of real test parts, and of the simulated S-FFSD, count like."""
    data = Path(os.environ["LORKIT_DATA"])
    keys = {"relations": ("Source", "Target"), "time": "Time", "label": "Labels", "classes": ("0", "1")}
    lines = []
    for file, source, kind, unit in (
        ("fraud/tolokers.npz", GraphSource(), "stated", None),
        ("second/fraud/fdcompcn.npz", GraphSource(), "stated", None),
        ("fraud/S-FFSD.csv", GraphSource(**keys), "temporal", None),
        ("fraud/S-FFSD.csv", GraphSource(**keys), "entity", "Source"),
    ):
        graph = read_graph([data / file], source)
        rows = split_graph(graph, kind, entities=(unit,) if unit else ()).nodes("test")
        relation = graph.relations[unit] if unit else None
        group_N = np.arange(len(rows)) if relation is None else relation.keys_N[rows]
        group_N = np.unique(group_N, return_inverse=True)[1]
        effective = unseen_group((graph.labels_N[rows] == 1)[:, None], group_N).effective
        groups = f"{group_N.max() + 1:,} {unit or 'nodes'}"
        lines.append(f"{file}, {kind}: {len(rows):,} nodes, {groups}, count like {effective or 0:.0f}")
    return lines


def main() -> None:
    """Run the simulation and print its tables."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--draws", type=int, default=50)
    arguments.add_argument("--workers", type=int, default=1, help="processes")
    arguments.add_argument("--json", action="store_true", help="print JSON instead of tables")
    arguments.add_argument("--data", action="store_true", help="print what real test parts count like instead")
    options = arguments.parse_args()
    if options.data:
        print("\n".join(counted_like()))
        return
    rows = simulate(ENTITIES, options.draws, options.workers)
    if options.json:
        print(json.dumps(rows, indent=1))
        return
    print("True drop equal to the allowed one: PASS is false\n")
    print(_table([row for row in rows if row["loss"] is not None]))
    print("\nNothing lost: PASS is right\n")
    print(_table([row for row in rows if row["loss"] is None]))


if __name__ == "__main__":
    main()
