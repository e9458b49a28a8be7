"""What networks are scored by: the outputs of a classifier, or masks as `predict` writes them.

A mask is decoded at the size of its image and compared with the original mask, case by case; only its row of numbers
is kept. Dice at the network's size is a diagnostic: a perfect network of a coarse grid has 1 there.

Shape legend: N samples, n of them in a batch, S structures.
"""

from __future__ import annotations

import numpy as np

from lorkit.decompose.artifacts.arrays import Bits, Float32Array, Floats, Ints, Mask
from lorkit.decompose.data.prepared import PreparedRegion
from lorkit.decompose.data.preprocessing.decoding import decode_at
from lorkit.decompose.data.samples.originals import OriginalMask, OriginalMasks
from lorkit.decompose.documents.network import Decision
from lorkit.decompose.documents.scores import SegmentationScores, TaskScores
from lorkit.decompose.metrics.segmentation import COLUMNS, COUNTS, HD95, NETWORK_COUNTS, NSD, VOXEL, mask_counts
from lorkit.decompose.metrics.surfaces import surface_scores
from lorkit.decompose.tasks import ScoreInputs, get_task


def score_inputs(prepared: PreparedRegion, at: slice, outputs: Float32Array, *, surfaces: bool = True) -> ScoreInputs:
    """Reduce the outputs of some samples to what their task is scored by.

    Args:
        prepared: All samples.
        at: Which of them.
        outputs: Their outputs, (n, K, *spatial).
        surfaces: Measure distances between surfaces of masks too.

    The samples are whole images; cases that a network takes window by window are in `evaluation.whole_cases`.

    Returns:
        Logits of a classifier; of masks (n, S, 9), see `metrics.segmentation`.

    Raises:
        DataError: An output is not finite.
    """
    task = get_task(prepared.region.task)
    if not task.dense:
        return task.score_inputs(outputs, prepared.targets[at])
    assert prepared.volumes is None  # outputs of windows are no masks of cases
    places = range(*at.indices(len(prepared)))
    rows = [
        score_mask(prepared, index, logits, surfaces=surfaces)[1] for index, logits in zip(places, outputs, strict=True)
    ]
    return np.stack(rows)


def score_mask(
    prepared: PreparedRegion, index: int, logits: Float32Array, *, surfaces: bool = True
) -> tuple[Mask | Bits, Floats]:
    """Decode the mask of one sample as `predict` writes it, and compare it with the original one.

    Args:
        prepared: All samples.
        index: Which of them.
        logits: Its output, (K, *spatial).
        surfaces: Measure distances between surfaces too; else they are NaN.

    Returns:
        The mask, and its row (S, 9); see `metrics.segmentation`.

    Raises:
        DataError: An output is not finite.
    """
    task, original = get_task(prepared.region.task), originals_of(prepared)[index]
    on_grid = task.score_inputs(logits[None], prepared.targets[index][None])[0]
    mask = decode_at(logits, original.mask.shape, exclusive=task.exclusive)
    return mask, _row(prepared, mask, original, on_grid, surfaces)


def score_found(
    prepared: PreparedRegion,
    mask: Mask | Bits,
    original: OriginalMask,
    on_grid: tuple[Mask | Bits, Mask | Bits],
    *,
    surfaces: bool = True,
) -> Floats:
    """Compare a decoded mask with the original one.

    Args:
        prepared: All samples.
        mask: The mask, of the original's size.
        original: The true mask.
        on_grid: Both masks on the network's grid.
        surfaces: Measure distances between surfaces too; else they are NaN.

    Returns:
        Its row (S, 9); see `metrics.segmentation`.
    """
    return _row(prepared, mask, original, mask_counts(*on_grid, len(prepared.region.classes)), surfaces)


def _row(
    prepared: PreparedRegion, mask: Mask | Bits, original: OriginalMask, on_grid_S3: Ints, surfaces: bool
) -> Floats:
    row_S9 = np.full((len(on_grid_S3), COLUMNS), np.nan)
    row_S9[:, NETWORK_COUNTS] = on_grid_S3
    row_S9[:, VOXEL] = originals_of(prepared).voxel_size(original)
    row_S9[:, COUNTS] = mask_counts(mask, original.mask, len(row_S9))
    if surfaces:
        tolerances = originals_of(prepared).tolerances
        row_S9[:, [NSD, HD95]] = surface_scores(mask, original.mask, original.spacing, tolerances)
    return row_S9


def originals_of(prepared: PreparedRegion) -> OriginalMasks:
    """Return the original masks of a dense task."""
    assert prepared.originals is not None  # set wherever there are masks
    return prepared.originals


def task_scores(prepared: PreparedRegion, inputs: ScoreInputs, decision: Decision | None = None) -> TaskScores:
    """Return the metrics of an `evaluate` document's region block; `decision` is that of a task's `decide`."""
    task, region = get_task(prepared.region.task), prepared.region
    found = task.scores(region, prepared.targets, inputs, prepared.groups, decision=decision)
    if not isinstance(found, SegmentationScores):
        return found
    originals = originals_of(prepared)
    tolerances = dict(zip(region.classes, originals.tolerances, strict=True))
    return found.with_changes(unit=originals.unit, volume_unit=originals.volume_unit, nsd_tolerance=tolerances)
