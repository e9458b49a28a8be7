"""Scores of whole cases that a network takes window by window: masks as `predict` writes them.

Shape legend: N cases, S structures, D H W a case at the spacing of the recipe.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from lorkit.decompose.artifacts.arrays import Bits, Float32Array, Floats, Mask
from lorkit.decompose.data.batches.evaluation_size import eval_batch_size
from lorkit.decompose.data.prepared import PreparedRegion
from lorkit.decompose.data.preprocessing.windows import Run, segment_windows
from lorkit.decompose.data.samples.originals import OriginalMask
from lorkit.decompose.errors import DataError
from lorkit.decompose.evaluation.scoring import originals_of, score_found
from lorkit.decompose.tasks import ScoreInputs, get_task


class FoundMasks(NamedTuple):
    """The mask of a case on the grid of its file, and at the spacing of the recipe."""

    original: Mask | Bits
    prepared: Mask | Bits


def segment_case(run: Run, prepared: PreparedRegion, row: int, size: Sequence[int]) -> FoundMasks:
    """Return the masks of one case.

    Args:
        run: The network: windows (N, C, d, h, w) to logits.
        prepared: A region whose recipe has a spacing.
        row: Which case.
        size: Sides of the case in its file, in the axes of networks.

    Raises:
        DataError: An output is not finite.
    """
    assert prepared.volumes is not None
    assert prepared.recipe.window is not None
    image = prepared.volumes[row].image
    volume_CDHW = np.broadcast_to(image, (prepared.recipe.channels, *image.shape[1:]))
    exclusive = get_task(prepared.region.task).exclusive
    on_grid = np.zeros(image.shape[1:], dtype=np.uint8 if exclusive else np.uint32)

    def finite(windows: Float32Array) -> Float32Array:
        logits = run(windows)
        if not np.isfinite(logits).all():
            raise DataError(
                f"logits of sample '{prepared.ids[row]}' with NaN or infinite values",
                required="finite logits",
                fix="check model and data",
            )
        return logits

    mask = segment_windows(
        finite,
        volume_CDHW,
        prepared.recipe.window,
        size,
        exclusive=exclusive,
        batch=eval_batch_size(prepared.recipe.size),
        on_grid=on_grid,
    )
    return FoundMasks(mask, on_grid)


def score_case(
    prepared: PreparedRegion, row: int, found: FoundMasks, original: OriginalMask, *, surfaces: bool = True
) -> Floats:
    """Compare the masks of one case with the true ones; see `score_found` for the row (S, 9)."""
    assert prepared.volumes is not None
    wanted = prepared.volumes[row].mask
    assert wanted is not None
    return score_found(prepared, found.original, original, (found.prepared, wanted), surfaces=surfaces)


def score_cases(run: Run, prepared: PreparedRegion, *, surfaces: bool = True) -> ScoreInputs:
    """Return (N, S, 9) numbers of all cases; see `metrics.segmentation`."""
    rows, originals = [], originals_of(prepared)
    for row in range(len(prepared)):
        original = originals[row]
        found = segment_case(run, prepared, row, original.mask.shape)
        rows.append(score_case(prepared, row, found, original, surfaces=surfaces))
    return np.stack(rows)
