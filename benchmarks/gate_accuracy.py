"""Error rates of the gate's accuracy verdict, simulated.

    python benchmarks/gate_accuracy.py --workers 2        # the tables of docs/benchmarks/gate.md

At the boundary, the true drop equals the allowed one: a PASS is false, and so is a FAIL. Losses are concentrated in few
patients, in one class, or spread over all images. For power, nothing is lost. Every verdict is the gate's own
(`lorkit.export.noninferiority`), of one region at the gate's defaults.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np

from lorkit.decompose.documents.gate import CaseSet
from lorkit.decompose.metrics.paired import PairedDrop, paired_difference, paired_means
from lorkit.export.noninferiority.accuracy import AccuracyTest, judged_drop
from lorkit.export.noninferiority.multiplicity import adjust_judged

CASES = CaseSet(digest="0" * 64, n=1, groups=1, excluded={}, unknown=[])
POWER_SHARE = 0.1
"""Draws for power, as a share of those at the boundary."""
_BATCH = 50


class Drawn(NamedTuple):
    """Simulated cases: the class of each (None for masks), the scores of both networks, and the patient of each."""

    labels: np.ndarray | None
    baseline: np.ndarray
    candidate: np.ndarray
    patients: np.ndarray


@dataclass(frozen=True)
class Scenario:
    """A distribution of cases and losses.

    Attributes:
        kind: `boundary`; `beyond` for losses that a PASS on Dice says it does not exclude; or `power`.
        cases: Which cases, for the table.
        loss: Which losses, for the table.
        patients: Number of patients.
        allowed: Allowed drop; at the boundary also the true one.
        draw: Draws cases from a generator.
    """

    kind: str
    cases: str
    loss: str
    patients: int
    allowed: float
    draw: Callable[[np.random.Generator], Drawn]


def hits(
    rng: np.random.Generator,
    *,
    patients: int,
    classes: int,
    images: str,
    share: float = 0.0,
    only_class: bool = False,
    only_largest: bool = False,
    accuracy: float = 1.0,
    swapped: float = 0.0,
) -> Drawn:
    """Draw right and wrong answers.

    Args:
        rng: A generator.
        patients: Number of patients.
        classes: Number of classes.
        images: `one` per patient, in classes of equal size; `unequal`, one per patient, the last class has 3 %; `each`,
            one of each class per patient; `1-6 any`, of any class; `1-6 same`, of one class per patient.
        share: Share of the patients that lose all their images, or those of `only_class`.
        only_class: Only the last class is lost.
        only_largest: Only patients with six images lose.
        accuracy: Of the baseline, independent over images.
        swapped: Share of all images that are lost, and another of the same size that is won.
    """
    count = rng.integers(1, 7, patients) if images.startswith("1-6") else np.full(patients, 1)
    if images == "each":
        count = np.full(patients, classes)
    patient_N = np.repeat(np.arange(patients), count)
    n = len(patient_N)
    if images == "unequal":
        label_N = rng.choice(4, n, p=[0.6, 0.27, 0.1, 0.03])
    elif images == "1-6 any":
        label_N = rng.integers(0, classes, n)
    elif images == "each":
        label_N = np.tile(np.arange(classes), patients)
    else:
        label_N = patient_N % classes
    lost_N = (rng.random(patients) < share)[patient_N]
    if only_class:
        lost_N &= label_N == classes - 1
    if only_largest:
        lost_N &= count[patient_N] == 6
    baseline_N = rng.random(n) < accuracy
    change_N = rng.random(n)
    candidate_N = (baseline_N & ~lost_N & (change_N >= swapped)) | (change_N > 1 - swapped)
    baseline_N &= change_N <= 1 - swapped
    return Drawn(label_N, baseline_N.astype(float), candidate_N.astype(float), patient_N)


def spread_hits(rng: np.random.Generator, *, patients: int, classes: int, drop: float) -> Drawn:
    """Draw one image per patient from a baseline at 80 %: `2 * drop` of all images are lost, `drop` are won."""
    labels, value_N = np.arange(patients) % classes, rng.random(patients)
    baseline, lost, won = value_N < 0.8, value_N < 2 * drop, value_N > 1 - drop
    return Drawn(labels, baseline.astype(float), ((baseline & ~lost) | won).astype(float), np.arange(patients))


def dice(
    rng: np.random.Generator,
    *,
    patients: int,
    structures: int = 2,
    most_images: int = 1,
    share: float = 0.0,
    loss: float = 0.0,
    mean: float = 0.0,
    sd: float = 0.01,
) -> Drawn:
    """Draw Dice coefficients: every patient loses `mean` +- `sd`, a share of them `loss` more in all structures."""
    patient_N = np.repeat(np.arange(patients), rng.integers(1, most_images + 1, patients))
    baseline_NS = rng.uniform(0.82, 0.95, (len(patient_N), structures))
    own = rng.normal(mean, sd, patients) + loss * (rng.random(patients) < share)
    lost_NS = own[patient_N, None] + rng.normal(0, 0.003, baseline_NS.shape)
    return Drawn(None, baseline_NS, np.clip(baseline_NS - lost_NS, 0.0, 1.0), patient_N)


def _labels(
    kind: str, patients: int, classes: int, images: str, loss: str, allowed: float = 0.02, **settings: object
) -> Scenario:
    draw = partial(hits, patients=patients, classes=classes, images=images, **settings)  # type: ignore[arg-type]
    return Scenario(kind, f"{classes} classes, {images}", loss, patients, allowed, draw)


def _masks(kind: str, patients: int, about: str, allowed: float = 0.02, **settings: object) -> Scenario:
    draw = partial(dice, patients=patients, **settings)  # type: ignore[arg-type]
    cases = "Dice" if "most_images" not in settings else f"Dice, 1-{settings['most_images']} images"
    return Scenario(kind, cases, about, patients, allowed, draw)


def _failing(kind: str, patients: int, share: float, loss: float, **settings: object) -> Scenario:
    text = f"{share:.1%} of patients lose {loss:.1f}"
    return _masks(kind, patients, text, share * loss, share=share, loss=loss, **settings)


def scenarios() -> list[Scenario]:
    """Return all scenarios."""
    at, one, whole = "boundary", "all in one class", "patients lose all"
    found = [
        _labels(at, 6, 2, "one", one, 0.2, share=0.4, only_class=True),
        _labels(at, 60, 2, "one", one, 0.05, share=0.1, only_class=True),
        _labels(at, 200, 2, "one", one, share=0.04, only_class=True),
        _labels(at, 400, 2, "one", one, share=0.04, only_class=True),
        _labels(at, 800, 5, "one", one, share=0.1, only_class=True),
        _labels(at, 160, 20, "one", one, share=0.4, only_class=True),
        _labels(at, 800, 20, "one", one, share=0.4, only_class=True),
        _labels(at, 800, 4, "unequal", "all in the rarest class", share=0.08, only_class=True),
        _labels(at, 12, 20, "each", whole, share=0.02),
        _labels(at, 15, 10, "each", whole, share=0.02),
        _labels(at, 15, 5, "each", whole, 0.05, share=0.05),
        _labels(at, 200, 5, "each", whole, share=0.02),
        _labels(at, 400, 10, "each", whole, share=0.02),
        _labels(at, 300, 2, "each", "patients lose all, baseline at 85 %", share=0.02 / 0.85, accuracy=0.85),
        _labels(at, 400, 3, "1-6 any", whole, share=0.02),
        _labels(at, 400, 3, "1-6 any", "patients with 6 images lose all", share=0.07, only_largest=True),
        _labels(at, 400, 2, "1-6 same", one, share=0.04, only_class=True),
        *(
            Scenario(at, f"{k} classes, one", "spread: 4 % lost, 2 % won", n, 0.02,
                     partial(spread_hits, patients=n, classes=k, drop=0.02))
            for n, k in ((100, 2), (400, 2), (800, 10))
        ),
        *(_failing(at, n, 0.1, 0.2) for n in (6, 10, 20, 36, 60, 100, 200)),
        _failing(at, 40, 0.1, 0.5),
        _failing(at, 100, 0.1, 0.2, most_images=4),
        _failing(at, 100, 0.05, 0.4),
        _failing(at, 200, 0.025, 0.8),
        _failing(at, 800, 0.025, 0.8),
        *(_masks(at, n, "spread: 0.02 +- 0.05", mean=0.02, sd=0.05) for n in (6, 40, 200)),
        _failing("beyond", 40, 0.05, 0.4),
        *(_failing("beyond", n, 0.025, 0.8) for n in (40, 100)),
    ]  # fmt: skip
    for n in (20, 50, 100, 200, 400, 800):
        found += [
            _labels("power", n, k, images, "none") for k, images in ((2, "one"), (5, "one"), (20, "one"), (5, "each"))
        ]
        found += [_labels("power", n, 3, "1-6 any", "none")]
        for swapped in (0.005, 0.01):
            found += [_labels("power", n, 2, "one", f"{swapped:.1%} lost, {swapped:.1%} won", swapped=swapped)]
        found += [_masks("power", n, "none: 0 +- 0.01")]
    return found


def verdict(scenario: Scenario, seed: list[int]) -> str:
    """Draw cases and judge them."""
    drawn = scenario.draw(np.random.default_rng(seed))
    test = AccuracyTest(allowed=scenario.allowed, seed=seed[-1])
    if drawn.labels is None:
        found: PairedDrop = paired_means(
            drawn.baseline, drawn.candidate, drawn.patients, allowed=test.allowed, seed=test.seed
        )
    else:
        found = paired_difference(drawn.labels, drawn.baseline, drawn.candidate, drawn.patients, seed=test.seed)
    metric = "dice" if drawn.labels is None else "balanced_accuracy"
    return adjust_judged([judged_drop(found, test, metric=metric, case_set=CASES, source="simulated")])[0].verdict


def _count(work: tuple[int, int, int, int]) -> tuple[int, int, int, int]:
    index, start, stop, seed = work
    scenario = scenarios()[index]
    verdicts = [verdict(scenario, [seed, index, draw]) for draw in range(start, stop)]
    return index, len(verdicts), verdicts.count("pass"), verdicts.count("fail")


def simulate(draws: int, workers: int, seed: int) -> list[dict[str, object]]:
    """Return the rates of PASS and FAIL of every scenario; progress goes to stderr."""
    every = scenarios()
    wanted = [max(1, round(draws * (POWER_SHARE if one.kind == "power" else 1.0))) for one in every]
    work = [
        (index, start, min(start + _BATCH, count), seed)
        for index, count in enumerate(wanted)
        for start in range(0, count, _BATCH)
    ]
    counts = np.zeros((len(every), 3), dtype=int)
    begin = time.monotonic()
    with multiprocessing.Pool(workers) as pool:
        for done, (index, *found) in enumerate(pool.imap_unordered(_count, work), 1):
            counts[index] += found
            print(f"\r{done / len(work):.0%} {time.monotonic() - begin:.0f} s", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)
    about = [{key: value for key, value in asdict(one).items() if key != "draw"} for one in every]
    return [
        {**row, "draws": int(n), "pass": passed / n, "fail": failed / n}
        for row, (n, passed, failed) in zip(about, counts, strict=True)
    ]


def _table(rows: list[dict[str, object]]) -> str:
    lines = ["| patients | cases | loss | allowed | PASS | FAIL |", "|---:|---|---|---:|---:|---:|"]
    for row in rows:
        rates = " | ".join(f"{100 * float(str(row[key])):.1f} %" for key in ("pass", "fail"))
        lines.append(f"| {row['patients']} | {row['cases']} | {row['loss']} | {row['allowed']:.3g} | {rates} |")
    return "\n".join(lines)


def main() -> None:
    """Run the simulation and print its tables."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--draws", type=int, default=2000, help="draws at the boundary; a tenth of them for power")
    arguments.add_argument("--workers", type=int, default=1, help="processes")
    arguments.add_argument("--seed", type=int, default=0)
    arguments.add_argument("--json", action="store_true", help="print JSON instead of tables")
    arguments.add_argument("--out", type=Path, help="write there instead of printing")
    options = arguments.parse_args()
    rows = simulate(options.draws, options.workers, options.seed)
    titles = {
        "boundary": "True drop equal to the allowed one: PASS and FAIL are false",
        "beyond": "The same, for losses that PASS on Dice says it does not exclude",
        "power": "Nothing lost: PASS is right",
    }
    parts = [f"{title}:\n\n{_table([row for row in rows if row['kind'] == kind])}" for kind, title in titles.items()]
    text = json.dumps(rows, indent=1) if options.json else "\n\n".join(parts)
    if options.out:
        options.out.write_text(text + "\n", encoding="utf-8")
    else:
        print(text)


if __name__ == "__main__":
    main()
