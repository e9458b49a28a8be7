"""How often the intervals of `compare` and of the calibration error cover a known truth, simulated.

    python benchmarks/interval_coverage.py --workers 2        # the tables of docs/benchmarks.md

`compare`: two methods, each trained with several seeds, in two regions. A patient is easier or harder for both methods,
a training is better or worse on all patients, and hits are drawn with these probabilities. The true drop is 0.05.
Calibration: labels are drawn from the softmax of logits, which are then multiplied; 1 is a calibrated model.
"""

from __future__ import annotations

import argparse
import multiprocessing
from functools import partial

import numpy as np

from lorkit.decompose.data.prepared import PreparedRegion
from lorkit.decompose.evaluation.comparison.paired_differences import PairedDifferences
from lorkit.decompose.metrics import scores
from lorkit.decompose.regions import Region

DROP = 0.05


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


def _region(name: str, classes: int, label_N: np.ndarray, patient_N: np.ndarray) -> PreparedRegion:
    names = tuple(map(str, range(len(label_N))))
    return PreparedRegion(
        region=Region(name=name, classes=tuple(map(str, range(classes)))),
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


def main() -> None:
    """Simulate and print both tables."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--draws", type=int, default=1000)
    arguments.add_argument("--workers", type=int, default=1, help="processes")
    options = arguments.parse_args()
    with multiprocessing.Pool(options.workers) as pool:

        def rates(draw: partial[tuple[bool, bool, float]]) -> tuple[float, float, float]:
            one, two, width = zip(*pool.imap_unordered(draw, range(options.draws), chunksize=20), strict=True)
            return float(np.mean(one)), float(np.mean(two)), float(np.median(width))

        print("| seeds | patients | trainings vary by | region covers | mean covers | half-width of the mean |")
        print("|---:|---:|---:|---:|---:|---:|")
        for seeds in (1, 2, 3, 5):
            for patients in (40, 200):
                for luck in (0.0, 0.03, 0.1) if seeds > 1 else (0.0,):
                    one, two, half = rates(partial(compared, seeds=seeds, patients=patients, luck=luck))
                    print(f"| {seeds} | {patients} | +-{luck:.2f} | {one:.1%} | {two:.1%} | {half:.3f} |", flush=True)
        print("\n| patients | logits times | true error | begins at 0 | covers | width |")
        print("|---:|---:|---:|---:|---:|---:|")
        for factor in (1.0, 1.5, 3.0):
            label_N, logit_NC = _model(np.random.default_rng(0), 500_000, factor)
            true = scores(label_N, logit_NC, np.zeros(len(label_N)), replicates=1)["ece"] if factor != 1.0 else 0.0
            for patients in (40, 200, 1000):
                one, two, width = rates(partial(calibrated, patients=patients, factor=factor, true=true))
                print(f"| {patients} | {factor} | {true:.3f} | {one:.1%} | {two:.1%} | {width:.3f} |", flush=True)


if __name__ == "__main__":
    main()
