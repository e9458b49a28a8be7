"""Masks are scored on the grid of their image, whatever the network's."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from lorkit.decompose.artifacts.arrays import IGNORED, Float32Array, Mask
from lorkit.decompose.config import load_config
from lorkit.decompose.data.prepared import PreparedRegion, prepare
from lorkit.decompose.data.preprocessing.recipe import build_recipe
from lorkit.decompose.data.readers.registry import read_regions
from lorkit.decompose.data.samples.originals import OriginalMasks
from lorkit.decompose.documents.scores import SegmentationScores
from lorkit.decompose.errors import DataError
from lorkit.decompose.evaluation.inference import collect_score_inputs
from lorkit.decompose.evaluation.scoring import score_inputs, score_mask, task_scores
from lorkit.decompose.metrics.segmentation import COUNTS, HD95, NETWORK_COUNTS, NSD, dice
from lorkit.decompose.regions import Region
from lorkit.decompose.tasks import get_task


def perfect(masks: NDArray[np.uint8], structures: int) -> Callable[[Float32Array], Float32Array]:
    """Return a network that answers the mask at its own size, case after case."""
    rows: Iterator[Mask] = iter(masks)
    hot = 9.0 * np.eye(structures + 1, dtype=np.float32)
    return lambda batch: np.stack([np.moveaxis(hot[np.minimum(next(rows), structures)], -1, 0) for _ in batch])


@pytest.fixture
def vessels(tmp_path: Path) -> Callable[[int], PreparedRegion]:
    """Four images of 40 x 40 pixels with lines of two pixels and a disc, prepared at a size."""

    def write(size: int) -> PreparedRegion:
        rng = np.random.default_rng(0)
        masks = np.zeros((4, 40, 40), np.uint8)
        for mask in masks:
            for at in rng.choice(np.arange(2, 36, 4), 4, replace=False):
                mask[at : at + 2] = 1
        masks[:3, 12:28, 12:28] = 2
        masks[0, :3] = IGNORED
        np.savez(tmp_path / "eye.npz", images=masks, masks=masks, groups=np.array(["a", "b", "c", "d"]),
                 mask_names=np.array(["background", "vessel", "disc"]))  # fmt: skip
        text = "regions: {eye: {data: eye.npz, nsd_tolerance_mm: {disc: 2}}}\nimage: {size: SIDE, channels: 1}"
        (tmp_path / "d.yaml").write_text(text.replace("SIDE", str(size)), encoding="utf-8")
        config = load_config(tmp_path / "d.yaml")
        return prepare(read_regions(config)["eye"], build_recipe(config.image, config.regions["eye"]))

    return write


def test_a_perfect_network_of_a_coarse_grid_is_not_perfect(vessels: Callable[[int], PreparedRegion]) -> None:
    prepared = vessels(16)
    assert prepared.masks is not None
    rows = collect_score_inputs(perfect(prepared.masks, 2), prepared, batch_size=3)
    found = task_scores(prepared, rows)
    assert isinstance(found, SegmentationScores)
    assert found.dice_network_grid == 1.0
    assert found.dice is not None
    assert found.dice < 0.9
    vessel, disc = found.per_structure
    assert vessel.dice < disc.dice < 1
    assert (found.unit, found.nsd_tolerance) == ("pixels", {"vessel": 1.0, "disc": 2.0})
    assert disc.nsd == 1.0
    assert vessel.nsd < 1
    assert (vessel.n, disc.n, disc.defined) == (4, 3, 3)


def test_at_the_size_of_the_images_both_grids_agree(vessels: Callable[[int], PreparedRegion]) -> None:
    """Equal counts to those at the network's size, for any network; and no distance for a perfect one."""
    prepared = vessels(40)
    logits = np.random.default_rng(1).normal(size=(4, 3, 40, 40)).astype(np.float32)
    rows = score_inputs(prepared, slice(None), logits)
    wanted = get_task("segmentation").score_inputs(logits, prepared.targets)
    np.testing.assert_array_equal(rows[..., COUNTS], wanted)
    np.testing.assert_array_equal(rows[..., NETWORK_COUNTS], wanted)
    assert prepared.masks is not None
    same = collect_score_inputs(perfect(prepared.masks, 2), prepared)
    np.testing.assert_array_equal(same[..., NSD], [[1.0, 1.0]] * 3 + [[1.0, np.nan]])
    np.testing.assert_array_equal(same[..., HD95], [[0.0, 0.0]] * 3 + [[0.0, np.nan]])


def test_chosen_samples_meet_their_own_masks(vessels: Callable[[int], PreparedRegion]) -> None:
    prepared = vessels(40).take([3, 1])
    assert prepared.masks is not None
    rows = collect_score_inputs(perfect(prepared.masks, 2), prepared, batch_size=1)
    assert np.nanmin(dice(rows[..., COUNTS])) == 1.0


def test_without_surfaces_only_distances_are_missing(vessels: Callable[[int], PreparedRegion]) -> None:
    prepared = vessels(16)
    logits = np.random.default_rng(1).normal(size=(4, 3, 16, 16)).astype(np.float32)
    few, all_ = (score_inputs(prepared, slice(1, 3), logits[1:3], surfaces=surfaces) for surfaces in (False, True))
    np.testing.assert_array_equal(few[..., :NSD], all_[..., :NSD])
    assert np.isnan(few[..., [NSD, HD95]]).all()
    mask, row = score_mask(prepared, 2, logits[2])
    assert mask.shape == (40, 40)
    np.testing.assert_array_equal(row, all_[1])
    with pytest.raises(DataError, match="NaN or infinite"):
        score_mask(prepared, 2, logits[2] * np.nan)


class Drawn:
    """Masks that are drawn when they are read."""

    def __init__(self, count: int, side: int) -> None:
        self.count, self.side = count, side

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int, /) -> Mask:
        mask = np.zeros((self.side,) * 3, np.uint8)
        mask[10:20, 10:20, 10 : 20 + index] = 1
        return mask


def test_one_case_at_a_time_is_at_its_original_size(make_prepared: Callable[[int], PreparedRegion]) -> None:
    """The probabilities of all cases would be 24 maps."""
    count, side = 12, 96
    small = make_prepared(count)
    region = Region(name="a", task="segmentation", classes=("box",))
    masks = np.zeros((count, 8, 8, 8), np.uint8)
    originals = OriginalMasks(
        masks=Drawn(count, side), spacings=((1.0,) * 3,) * count, tolerances=(1.0,), indices=tuple(range(count))
    )
    prepared = PreparedRegion(**{**vars(small), "region": region, "masks": masks, "originals": originals})
    logits = np.random.default_rng(0).normal(size=(count, 2, 8, 8, 8)).astype(np.float32)
    score_inputs(prepared, slice(0, 1), logits[:1])  # imports
    tracemalloc.start()
    score_inputs(prepared, slice(None), logits)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    one_map = 4 * side**3
    assert peak < 8 * one_map
