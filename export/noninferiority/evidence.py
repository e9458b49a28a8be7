"""The answers of two engines on the same cases: what the accuracy test compares.

Masks are compared as `predict` writes them, on the grid of each image, and reduced to counts of pixels one by one to
save memory.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from threading import Event
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from lorkit.decompose.artifacts.arrays import Float32Array, Floats
from lorkit.decompose.documents.gate import ChangedAnswer
from lorkit.decompose.evaluation.scoring import originals_of, score_mask
from lorkit.decompose.evaluation.whole_cases import score_case, segment_case
from lorkit.decompose.machine import usable_threads
from lorkit.decompose.metrics import PairedDrop
from lorkit.decompose.metrics.bootstrap import number
from lorkit.decompose.metrics.paired import paired_means
from lorkit.decompose.metrics.probabilities import softmax
from lorkit.decompose.metrics.segmentation import NETWORK_COUNTS, dice
from lorkit.decompose.tasks import ScoreInputs, get_task, headline
from lorkit.export.noninferiority import changed_answers
from lorkit.export.noninferiority.label_evidence import LabelEvidence
from lorkit.export.noninferiority.sides import Sides
from lorkit.export.runtime.batch_size import fitting
from lorkit.export.runtime.exported import ExportPair
from lorkit.export.runtime.heads import HeadEngine

if TYPE_CHECKING:
    from lorkit.decompose.data.prepared import PreparedRegion
    from lorkit.export.targets.base import Engine

BATCH = 64
_ONE_CORE = "CPUExecutionProvider"
Rows = list[int] | slice
Compare = Callable[[Rows], PairedDrop | None]
_Engines = tuple["Engine", "Engine"]
_Prepared = tuple["PreparedRegion", "PreparedRegion"]


@dataclass(frozen=True)
class AccuracyEvidence:
    """The answers of two networks: a comparison of any of the cases, by structure too, and the changed answers.

    `absent` returns the classes or structures that are in none of some cases, whose loss cannot be seen; `equal` says
    whether the outputs are equal in every case.
    """

    sides: Sides
    equal: bool
    compare: Compare
    absent: Callable[[Rows], list[str]]
    structures: Mapping[str, Compare]
    changed: list[ChangedAnswer]
    rate: dict[str, Any]


def collect_evidence(
    pair: ExportPair, engines: _Engines, prepared: _Prepared, *, allowed: float, seed: int
) -> AccuracyEvidence:
    """Run all cases through both engines.

    Args:
        pair: Baseline and candidate.
        engines: Their engines, in this order.
        prepared: The cases for each side.
        allowed: Allowed drop, by which the interval of a Dice is widened.
        seed: Seed of the bootstrap.

    Raises:
        DataError: An engine's output is not finite.
    """
    task = get_task(pair.candidate.region.task)
    if task.dense:
        return _compare_masks(pair, engines, prepared, allowed, seed)
    if not task.exclusive:
        return _compare_tables(pair, engines, prepared, seed)
    return _compare_labels(pair, engines, prepared, seed)


def engine_logits(engine: Engine, prepared: PreparedRegion, *, ended: Event | None = None) -> Float32Array:
    """Run every case through an engine: (N, C, *spatial) in, (N, classes) out; fewer once nobody waits for them."""
    found = [np.empty((0, 0), np.float32)]
    for at in range(0, len(prepared.images), BATCH):
        if ended is not None and ended.is_set():
            return found[0]
        found.append(_outputs(engine, prepared, slice(at, at + BATCH)))
    return np.concatenate(found[1:])


def logits_of_both(engines: _Engines, prepared: _Prepared) -> list[Float32Array]:
    """Run every case through both engines, side by side where each has one of several cores to itself.

    That is so for ONNX Runtime, whose sessions compute without the GIL and on the threads that they were given.
    """
    if usable_threads() < 2 or any(one.provider != _ONE_CORE for one in engines):
        return [engine_logits(engine, one) for engine, one in zip(engines, prepared, strict=True)]
    ended = Event()
    with ThreadPoolExecutor(2) as pool:
        try:
            return list(pool.map(partial(engine_logits, ended=ended), engines, prepared))
        except BaseException:  # also an interruption: the pool waits for what is under way
            ended.set()
            raise


def _outputs(engine: Engine, prepared: PreparedRegion, part: slice) -> Float32Array:
    """Return the outputs by which some cases are judged: wrong ones where a network answers for another region."""
    images = np.ascontiguousarray(prepared.images[part])
    return engine.judged(images, prepared.targets[part]) if isinstance(engine, HeadEngine) else engine.run(images)


def _compare_labels(pair: ExportPair, engines: _Engines, prepared: _Prepared, seed: int) -> AccuracyEvidence:
    """Compare two classifiers, also of nodes, and count the labels that differ."""
    region = pair.candidate.region
    logits = logits_of_both(engines, prepared)
    labels, groups = prepared[0].labels, np.asarray(prepared[0].groups)

    def compare(rows: Rows) -> PairedDrop:
        sides = logits[0][rows], logits[1][rows]
        return get_task(region.task).paired(region, labels[rows], sides, groups[rows].tolist(), seed=seed)

    def absent(rows: Rows) -> list[str]:
        shown = set(labels[rows].tolist())
        return [name for index, name in enumerate(pair.candidate.classes) if index not in shown]

    # from here on the largest logit is the answer, whatever the threshold of a node's two classes
    decided = [
        one if side.head.offsets is None else one - np.asarray(side.head.offsets, np.float32)
        for one, side in zip(logits, (pair.baseline, pair.candidate), strict=True)
    ]
    shares = [
        softmax(one.astype(np.float64) / (side.head.temperature or 1.0), axis=1)
        for one, side in zip(logits, (pair.baseline, pair.candidate), strict=True)
    ]
    changed = changed_answers.changed_labels(prepared[0], decided, pair.candidate.classes, shares)
    sides = Sides(
        region=region,
        targets=(labels, labels),
        score_inputs=(decided[0], decided[1]),
        groups=prepared[0].groups,
        seed=seed,
    )
    equal = np.array_equal(logits[0], logits[1])
    return AccuracyEvidence(sides, equal, compare, absent, {}, changed, {"label_flips": len(changed)})


def _compare_tables(pair: ExportPair, engines: _Engines, prepared: _Prepared, seed: int) -> AccuracyEvidence:
    """Compare two multilabel networks, and count the cases with a label that is answered differently."""
    one, two = logits_of_both(engines, prepared)
    # from here on a label is positive from 0, whatever its threshold
    cuts = [np.asarray(side.head.cuts, np.float32) for side in (pair.baseline, pair.candidate)]
    found = LabelEvidence(prepared[0], one - cuts[0], two - cuts[1], seed)
    names = pair.candidate.classes if len(pair.candidate.classes) > 1 else ()
    by_label = {name: partial(found.compare, columns=slice(index, index + 1)) for index, name in enumerate(names)}
    sides = Sides(
        region=pair.candidate.region,
        targets=(prepared[0].targets, prepared[0].targets),
        score_inputs=(found.baseline_NL, found.candidate_NL),
        groups=prepared[0].groups,
        seed=seed,
    )
    rate = {"label_flips": found.flipped_cases()}
    changed = changed_answers.changed_table(prepared[0], (one, two), cuts)
    return AccuracyEvidence(sides, np.array_equal(one, two), found.compare, found.absent, by_label, changed, rate)


def _compare_masks(
    pair: ExportPair, engines: _Engines, prepared: _Prepared, allowed: float, seed: int
) -> AccuracyEvidence:
    """Compare two segmentation networks by the Dice of each case, and count the pixels that differ.

    Raises:
        DataError: An engine's output is not finite.
    """
    region = pair.candidate.region
    task = get_task(region.task)
    found = _score_masks(pair, engines, prepared)
    sides = Sides(
        region=region,
        targets=(prepared[0].targets, prepared[1].targets),
        score_inputs=found.rows,
        groups=prepared[0].groups,
        seed=seed,
    )
    one_NS, two_NS = (
        task.scores_by_case(region, targets, kept)
        for targets, kept in zip(sides.targets, sides.score_inputs, strict=True)
    )
    groups = np.asarray(prepared[0].groups)

    def compare_of(columns: slice) -> Compare:
        def compare(rows: Rows) -> PairedDrop | None:
            sides = one_NS[rows, columns], two_NS[rows, columns]
            known_N = np.isfinite(sides[0]).any(1) | np.isfinite(sides[1]).any(1)
            if not known_N.any():
                return None
            return paired_means(sides[0][known_N], sides[1][known_N], groups[rows][known_N], allowed=allowed, seed=seed)

        return compare

    shown_NS = found.rows[0][..., 2] > 0

    def absent(rows: Rows) -> list[str]:
        shown = shown_NS[rows]
        return [name for index, name in enumerate(region.classes) if not shown[:, index].any()]

    names = region.classes if len(region.classes) > 1 else ()
    structures = {name: compare_of(slice(index, index + 1)) for index, name in enumerate(names)}
    changed = changed_answers.changed_dice(prepared[0], one_NS, two_NS, region.classes)
    sizes = zip(("baseline", "candidate"), found.rows, strict=True)
    network_grid = {side: number(headline(dice(rows[..., NETWORK_COUNTS]))) for side, rows in sizes}
    rate = {"flip_rate": found.differing, "dice_network_grid_by_side": network_grid}
    return AccuracyEvidence(sides, found.equal, compare_of(slice(None)), absent, structures, changed, rate)


class _ScoredMasks(NamedTuple):
    """Rows of numbers of each side (N, S, 9), the share of pixels that differ, and whether all outputs are equal."""

    rows: tuple[ScoreInputs, ScoreInputs]
    differing: float
    equal: bool


def _score_masks(pair: ExportPair, engines: _Engines, prepared: _Prepared) -> _ScoredMasks:
    """Decode the masks of both sides as `predict` writes them, and keep of each case only numbers."""
    if prepared[0].volumes is not None:
        return _score_whole_cases(engines, prepared)
    rows: tuple[list[Floats], list[Floats]] = ([], [])
    differing, pixels, equal = 0, 0, True
    for part, logits in _batches(pair, engines, prepared):
        equal = equal and np.array_equal(logits[0], logits[1])
        for index, outputs in enumerate(zip(*logits, strict=True), part.start):
            masks = []
            for kept, one, found in zip(rows, prepared, outputs, strict=True):
                mask, row = score_mask(one, index, found, surfaces=False)
                masks.append(mask)
                kept.append(row)
            differing, pixels = differing + int((masks[0] != masks[1]).sum()), pixels + masks[0].size
    return _ScoredMasks((np.stack(rows[0]), np.stack(rows[1])), differing / pixels, equal)


def _score_whole_cases(engines: _Engines, prepared: _Prepared) -> _ScoredMasks:
    """Do the same for cases that networks take window by window; their outputs are not kept, so never called equal."""
    rows: tuple[list[Floats], list[Floats]] = ([], [])
    differing, voxels = 0, 0
    originals = originals_of(prepared[0])
    for index in range(len(prepared[0])):
        original = originals[index]
        masks = []
        for kept, one, engine in zip(rows, prepared, engines, strict=True):
            found = segment_case(engine.run, one, index, original.mask.shape)
            masks.append(found)
            kept.append(score_case(one, index, found, original, surfaces=False))
        differing += int((masks[0].original != masks[1].original).sum())
        voxels += original.mask.size
    return _ScoredMasks((np.stack(rows[0]), np.stack(rows[1])), differing / voxels, equal=False)


def _batches(pair: ExportPair, engines: _Engines, prepared: _Prepared) -> Iterator[tuple[slice, list[Float32Array]]]:
    region = pair.candidate.region
    most = min(fitting(region, one.shape, most=BATCH) for one in (pair.baseline, pair.candidate))
    for start in range(0, len(prepared[0]), most):
        part = slice(start, start + most)
        yield (
            part,
            [_outputs(engine, one, part) for engine, one in zip(engines, prepared, strict=True)],
        )
