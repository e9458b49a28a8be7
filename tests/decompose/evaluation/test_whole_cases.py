"""Whole cases are scored by the masks that `predict` would write, window by window."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from lorkit.decompose.artifacts.arrays import Float32Array
from lorkit.decompose.config import ImageConfig, RegionConfig
from lorkit.decompose.data.prepared import PreparedRegion, prepare
from lorkit.decompose.data.preprocessing.decoding import decode, decode_at
from lorkit.decompose.data.preprocessing.recipe import build_recipe
from lorkit.decompose.data.samples.samples import check_samples
from lorkit.decompose.data.samples.source import Source
from lorkit.decompose.errors import DataError
from lorkit.decompose.evaluation.inference import collect_score_inputs, score_validation
from lorkit.decompose.evaluation.whole_cases import segment_case
from lorkit.decompose.metrics.segmentation import COUNTS, HD95, NETWORK_COUNTS, NSD, mask_counts

SIDES = (20, 11, 14)


@pytest.fixture
def prepared(tmp_path: Path) -> PreparedRegion:
    rng = np.random.default_rng(0)
    images = [rng.integers(0, 256, SIDES, dtype=np.uint8) for _ in range(2)]
    masks = [(image > 128).astype(np.uint8) for image in images]
    masks[1][:, :5] = 2
    config = RegionConfig(data=("x",), spacing=(1.5, 1, 1), structures=("bright", "left"), nsd_tolerance_mm=1.0)
    source = Source(
        images=images, labels=np.zeros(2, dtype=np.int64), classes=("bright", "left"), ids=("a", "b"),
        groups=("a", "b"), parts=(None, None), origin="memory", masks=masks, spacings=((1.0, 1.0, 1.0),) * 2,
    )  # fmt: skip
    samples = replace(check_samples("r", config, source, dims=3), store=tmp_path)
    image = ImageConfig.model_validate({"size": (8, 8, 8), "channels": 1})
    return prepare(samples, build_recipe(image, config))


def by_voxel(windows: Float32Array) -> Float32Array:
    """Logits that depend on the voxel only, so that blended windows equal one pass over the whole case."""
    x = windows.astype(np.float32)
    return np.concatenate([0.55 - x, x - 0.4, x**2 - 0.3], axis=1)


class ByVoxel(nn.Module):
    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return torch.from_numpy(by_voxel(image.numpy()))


def test_masks_are_those_of_one_pass_over_the_case(prepared: PreparedRegion) -> None:
    assert prepared.volumes is not None
    for row in range(2):
        logits = by_voxel(np.array(prepared.volumes[row].image)[None])[0]
        found = segment_case(by_voxel, prepared, row, SIDES)
        # the blend divides by the sum of weights, so a voxel between two structures may fall to either
        assert (found.prepared != decode(logits)).mean() < 0.002
        assert (found.original != decode_at(logits, SIDES)).mean() < 0.002


@pytest.mark.parametrize("network", [by_voxel, ByVoxel()])
def test_rows_of_numbers_are_of_the_original_and_of_the_prepared_grid(prepared: PreparedRegion, network: Any) -> None:
    rows_NS8 = collect_score_inputs(network, prepared)
    assert prepared.originals is not None
    assert prepared.volumes is not None
    for row in range(2):
        found = segment_case(by_voxel, prepared, row, SIDES)
        true = prepared.originals[row].mask
        np.testing.assert_array_equal(rows_NS8[row][:, COUNTS], mask_counts(found.original, true, 2))
        on_grid = mask_counts(found.prepared, np.asarray(prepared.volumes[row].mask), 2)
        np.testing.assert_array_equal(rows_NS8[row][:, NETWORK_COUNTS], on_grid)
    assert np.isfinite(rows_NS8[1][:, [NSD, HD95]]).all()


def test_logits_of_one_window_are_not_taken_for_those_of_a_case(prepared: PreparedRegion) -> None:
    wrong = np.zeros((2, 3, 8, 8, 8), dtype=np.float32)
    rows_NS8 = score_validation(by_voxel, prepared, wrong, surfaces=False)
    np.testing.assert_array_equal(rows_NS8[..., :6], collect_score_inputs(by_voxel, prepared)[..., :6])
    assert np.isnan(rows_NS8[..., NSD]).all()


def test_outputs_that_are_not_finite_name_the_case(prepared: PreparedRegion) -> None:
    with pytest.raises(DataError, match="logits of sample 'a' with NaN"):
        collect_score_inputs(lambda windows: by_voxel(windows) * np.float32(np.nan), prepared)
