"""How often the intervals of `compare` and of the calibration error cover a known truth, simulated.

    python benchmarks/interval_coverage.py --workers 2        # the tables of docs/benchmarks/gate.md

`compare`: two methods, each trained with several seeds, in two regions. A patient is easier or harder for both methods,
a training is better or worse on all patients, and hits are drawn with these probabilities. The true drop is 0.05. The
second table is of patients with 3 to 19 images of one class each, who differ widely in how hard they are.
Average precision: nodes of entities of one row or of a geometric number of mean 5; 15 % of the entities have 60 %
positive nodes, the others 3 %. Margins are normal with a part that both methods share, one of the entity, and one of
each training; trainings also differ in how far they separate the classes. The true drop is computed from the model.
Calibration: labels are drawn from the softmax of logits, which are then multiplied; 1 is a calibrated model.
"""

from __future__ import annotations

import argparse
import multiprocessing
from functools import partial

import numpy as np
from scipy.stats import norm

from lorkit.decompose.data.prepared import PreparedRegion
from lorkit.decompose.evaluation.comparison.paired_differences import PairedDifferences
from lorkit.decompose.metrics import scores
from lorkit.decompose.regions import Region
from lorkit.decompose.tasks import get_task

DROP = 0.05
OWN, ENTITY = 0.5, 0.5
"""Standard deviations of the parts of a margin that are of a training, and of an entity; that of the rest is 1."""
GAPS = (1.6, 1.4)
"""Distances between the mean margins of positive and negative nodes, by method."""
SIZES = {
    "1": lambda rng, count: np.ones(count, dtype=int),
    "geometric": lambda rng, count: rng.geometric(0.2, count),
}


def compared(seed: int, *, seeds: int, patients: int, luck: float, images: int = 2) -> tuple[bool, bool, float]:
    """Return whether the interval of a region and of the mean cover the drop, and the half-width of the latter."""
    rng = np.random.default_rng([seed, seeds, patients, int(1000 * luck)])
    lucks = [rng.uniform(-luck, luck, (seeds, 1)) for _ in range(2)]
    regions, sides = {}, ({}, {})
    for name, classes in (("a", 2), ("b", 3)):
        patient_N = np.repeat(np.arange(patients), images)
        label_N = rng.integers(0, classes, len(patient_N))
        regions[name] = _region(name, classes, label_N, patient_N)
        hardness_N = rng.uniform(-0.1, 0.1, patients)[patient_N]
        own_NC = label_N[:, None] == np.arange(classes)
        for side, chance, lucky in zip(sides, (0.8, 0.8 - DROP), lucks, strict=True):
            hit_SN = rng.random((seeds, len(label_N))) < chance + hardness_N + lucky
            side[name] = np.where(own_NC, hit_SN[:, :, None], np.nan)
    found = PairedDifferences(regions).pair(*sides)
    low, high = found.regions["a"].ci
    return low <= DROP <= high, found.mean.ci[0] <= DROP <= found.mean.ci[1], found.mean.decidable


def by_patient(seed: int, *, seeds: int, sizes: tuple[int, ...], luck: float, true: float) -> tuple[bool, float]:
    """Return whether the interval covers the drop, and its half-width, of patients with one class and many images."""
    rng = np.random.default_rng([seed, seeds, sum(sizes), int(1000 * luck)])
    images_G = rng.integers(3, 20, sum(sizes))
    label_N = np.repeat(np.repeat(np.arange(len(sizes)), sizes), images_G)
    patient_N = np.repeat(np.arange(sum(sizes)), images_G)
    own_NC = label_N[:, None] == np.arange(len(sizes))
    sides = []
    for chance_G in _chances(rng, sum(sizes)):
        hit_SN = rng.random((seeds, len(label_N))) < chance_G[patient_N] + rng.uniform(-luck, luck, (seeds, 1))
        sides.append({"a": np.where(own_NC, hit_SN[:, :, None], np.nan)})
    found = PairedDifferences({"a": _region("a", len(sizes), label_N, patient_N)}).pair(*sides).regions["a"]
    return found.ci[0] <= true <= found.ci[1], found.decidable


def _chances(rng: np.random.Generator, patients: int) -> list[np.ndarray]:
    """Return by method the chance of a hit of each patient: what both share, the drop, and what is the method's own."""
    shared_G = rng.beta(1.3, 0.7, patients)
    return [np.clip(shared_G * (1 - drop / 0.65) + rng.normal(0, 0.15, patients), 0, 1) for drop in (0.0, DROP)]


def true_drop_by_patient(luck: float) -> float:
    """Return the drop of infinitely many patients, the mean over trainings."""
    lucks = luck * (np.arange(-10, 11) / 10.5)
    one, two = _chances(np.random.default_rng(0), 400_000)
    return float(np.mean([np.clip(one + lucky, 0, 1).mean() - np.clip(two + lucky, 0, 1).mean() for lucky in lucks]))


def ranked(
    seed: int, *, seeds: int, entities: int, sizes: str, luck: float, true: float
) -> tuple[bool, float, float, int]:
    """Return whether the interval covers the drop in average precision, its half-width, the gate's bound, positives."""
    rng = np.random.default_rng([seed, seeds, entities, int(1000 * luck), len(sizes)])
    entity_N = np.repeat(np.arange(entities), SIZES[sizes](rng, entities))
    share_N = np.where(rng.random(entities) < 0.15, 0.6, 0.03)[entity_N]
    label_N = (rng.random(len(entity_N)) < share_N).astype(np.int64)
    shared_N = ENTITY * rng.normal(size=entities)[entity_N] + rng.normal(size=len(entity_N))
    region = _region("a", 2, label_N, entity_N, task="node")
    task, sides = get_task("node"), []
    for gap in GAPS:
        gap_S1 = gap + rng.uniform(-luck, luck, (seeds, 1))
        margin_SN = shared_N + OWN * rng.normal(size=(seeds, len(label_N))) + gap_S1 * label_N
        logit_SN2 = np.stack([np.zeros_like(margin_SN), margin_SN], axis=2)
        sides.append({"a": np.stack([task.scores_by_case(region.region, label_N, one) for one in logit_SN2])})
    found = PairedDifferences({"a": region}).pair(*sides).regions["a"]
    bound = task.unseen_bound(region.region, label_N, region.groups)
    return found.ci[0] <= true <= found.ci[1], found.decidable, bound, int(label_N.sum())


def true_drop(luck: float) -> float:
    """Return the drop in average precision of infinitely many nodes, the mean over trainings."""
    positive, deviation = 0.15 * 0.6 + 0.85 * 0.03, np.sqrt(1 + ENTITY**2 + OWN**2)
    recall_Q = (np.arange(20_000) + 0.5) / 20_000

    def precision(gap: float) -> float:
        false_Q = norm.sf(norm.isf(recall_Q) + gap / deviation)
        return float((positive * recall_Q / (positive * recall_Q + (1 - positive) * false_Q)).mean())

    lucks = luck * (np.arange(-20, 21) / 20.5)
    return float(np.mean([precision(GAPS[0] + one) - precision(GAPS[1] + one) for one in lucks]))


def _region(
    name: str, classes: int, label_N: np.ndarray, patient_N: np.ndarray, task: str = "classification"
) -> PreparedRegion:
    names = tuple(map(str, range(len(label_N))))
    return PreparedRegion(
        region=Region(name=name, classes=tuple(map(str, range(classes))), task=task),
        recipe=[],
        stored=np.zeros((len(label_N), 1, 1, 1), np.float32),
        labels=label_N,
        groups=tuple(map(str, patient_N)),
        ids=names,
        digests=names,
    )


def calibrated(seed: int, *, patients: int, factor: float, true: float, images: int = 1) -> tuple[bool, bool, float]:
    """Return whether the interval of the calibration error begins at 0 and covers the true error, and its width."""
    label_N, logit_NC = _model(np.random.default_rng([seed, patients, int(10 * factor)]), patients * images, factor)
    found = scores(label_N, logit_NC, np.repeat(np.arange(patients), images), seed=seed, replicates=500)
    low, high = found["ci"]["ece"]
    return low == 0.0, low <= true <= high, high - low


def _model(rng: np.random.Generator, n: int, factor: float) -> tuple[np.ndarray, np.ndarray]:
    odds_N = rng.normal(0, 2, n)
    label_N = (rng.random(n) < 1 / (1 + np.exp(-odds_N))).astype(np.int64)
    return label_N, factor * np.stack([np.zeros(n), odds_N], axis=1)


class Simulation:
    """Draws in parallel, and prints a table of each kind."""

    def __init__(self, pool: multiprocessing.pool.Pool, draws: int) -> None:
        self._pool, self._draws = pool, draws

    def columns(self, draw: partial[tuple[float, ...]]) -> list[tuple[float, ...]]:
        """Return what each draw found, by column."""
        return list(zip(*self._pool.imap_unordered(draw, range(self._draws), chunksize=20), strict=True))

    def hits(self) -> None:
        """Print the table of `compare` for hits."""
        print("| seeds | patients | trainings vary by | region covers | mean covers | half-width of the mean |")
        print("|---:|---:|---:|---:|---:|---:|")
        for seeds in (1, 2, 3, 5):
            for patients in (40, 200):
                for luck in (0.0, 0.03, 0.1) if seeds > 1 else (0.0,):
                    one, two, half = self.columns(partial(compared, seeds=seeds, patients=patients, luck=luck))
                    rates = f"{np.mean(one):.1%} | {np.mean(two):.1%} | {np.median(half):.3f}"
                    print(f"| {seeds} | {patients} | +-{luck:.2f} | {rates} |", flush=True)

        print("\n| patients by class | seeds | trainings vary by | covers | half-width |")
        print("|---|---:|---:|---:|---:|")
        for sizes in ((18, 18, 18, 17), (40, 40), (12, 30, 30), (11, 60)):
            for seeds, luck in ((1, 0.0), (3, 0.0), (3, 0.05), (5, 0.05)):
                draw = partial(by_patient, seeds=seeds, sizes=sizes, luck=luck, true=true_drop_by_patient(luck))
                covers, half = self.columns(draw)
                about = f"{', '.join(map(str, sizes))} | {seeds} | +-{luck:.2f}"
                print(f"| {about} | {np.mean(covers):.1%} | {np.median(half):.3f} |", flush=True)

    def precision(self) -> None:
        """Print the table of `compare` for average precision."""
        print("\n| rows per entity | entities | positive nodes | seeds | gaps vary by | covers | half-width | bound |")
        print(f"|---|{'---:|' * 7}")
        for sizes in SIZES:
            for entities in (100, 300, 1000):
                for seeds, luck in ((1, 0.0), (3, 0.0), (3, 0.1), (5, 0.1)):
                    settings = {"seeds": seeds, "entities": entities, "sizes": sizes, "luck": luck}
                    covers, half, bound, positives = self.columns(partial(ranked, **settings, true=true_drop(luck)))
                    found = f"{np.mean(covers):.1%} | {np.median(half):.3f} | {np.median(bound):.3f}"
                    about = f"{sizes} | {entities} | {np.mean(positives):.0f} | {seeds} | +-{luck:.1f}"
                    print(f"| {about} | {found} |", flush=True)

    def calibration(self) -> None:
        """Print the table of calibration errors."""
        print("\n| patients | logits times | true error | begins at 0 | covers | width |")
        print("|---:|---:|---:|---:|---:|---:|")
        for factor in (1.0, 1.5, 3.0):
            label_N, logit_NC = _model(np.random.default_rng(0), 500_000, factor)
            true = scores(label_N, logit_NC, np.zeros(len(label_N)), replicates=1)["ece"] if factor != 1.0 else 0.0
            for patients in (40, 200, 1000):
                one, two, width = self.columns(partial(calibrated, patients=patients, factor=factor, true=true))
                rates = f"{np.mean(one):.1%} | {np.mean(two):.1%} | {np.median(width):.3f}"
                print(f"| {patients} | {factor} | {true:.3f} | {rates} |", flush=True)


def main() -> None:
    """Simulate and print the tables."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--draws", type=int, default=1000)
    arguments.add_argument("--workers", type=int, default=1, help="processes")
    arguments.add_argument("--only", choices=["hits", "precision", "calibration"], help="one table")
    options = arguments.parse_args()
    with multiprocessing.Pool(options.workers) as pool:
        tables = Simulation(pool, options.draws)
        for name in [options.only] if options.only else ["hits", "precision", "calibration"]:
            getattr(tables, name)()


if __name__ == "__main__":
    main()
