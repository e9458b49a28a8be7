from __future__ import annotations

import numpy as np
import pytest

from lorkit.decompose.errors import DataError
from lorkit.decompose.metrics.segmentation import dice, mask_dice, mask_scores, overlap_counts


def test_counts_and_dice_are_those_of_sets_of_pixels() -> None:
    rng = np.random.default_rng(0)
    logits, masks = rng.normal(size=(4, 3, 5, 6)), rng.integers(0, 3, (4, 5, 6))
    counts = overlap_counts(logits, masks)
    for n, s in np.ndindex(4, 2):
        found = {tuple(at) for at in np.argwhere(logits[n].argmax(0) == s + 1)}
        wanted = {tuple(at) for at in np.argwhere(masks[n] == s + 1)}
        assert counts[n, s].tolist() == [len(found & wanted), len(found), len(wanted)]
        assert dice(counts)[n, s] == pytest.approx(2 * len(found & wanted) / (len(found) + len(wanted)))
        assert mask_dice(logits[n].argmax(0), masks[n], 2)[s] == pytest.approx(dice(counts)[n, s])


def test_a_structure_that_neither_mask_holds_is_undefined_and_one_that_either_holds_is_zero() -> None:
    found, wanted = np.array([[1, 1], [0, 2]]), np.array([[1, 0], [0, 0]])
    np.testing.assert_allclose(mask_dice(found, wanted, 3), [2 / 3, 0.0, np.nan])
    np.testing.assert_allclose(dice(np.array([[[1, 2, 1], [0, 1, 0], [0, 0, 0]]])), [[2 / 3, 0.0, np.nan]])


def test_scores_average_cases_by_structure_and_one_group_has_no_interval() -> None:
    counts = np.array([[[1, 2, 2], [0, 0, 0]], [[2, 2, 2], [1, 1, 3]], [[0, 1, 0], [0, 0, 0]]])
    network = np.array([[[2, 2, 2], [0, 0, 0]], [[2, 2, 2], [1, 1, 1]], [[0, 0, 0], [0, 0, 0]]])
    surfaces = np.array([[[0.5, 4.0], [np.nan] * 2], [[1.0, 2.0], [0.25, 3.0]], [[0.0, np.nan], [np.nan] * 2]])
    rows = np.concatenate([counts, network, surfaces, np.full((3, 2, 1), 0.5)], axis=-1)
    found = mask_scores(rows, ["a", "b", "b"], ["core", "rim"])
    assert found["dice"] == pytest.approx(((0.5 + 1 + 0) / 3 + 0.5) / 2)
    assert found["nsd"] == pytest.approx((0.5 + 0.25) / 2)
    assert found["hd95"] == pytest.approx((3.0 + 3.0) / 2)
    assert found["dice_network_grid"] == 1.0
    core, rim = found["per_structure"]
    assert (core["n"], core["defined"], core["hd95_undefined"]) == (2, 3, 1)
    assert (rim["n"], rim["defined"], rim["hd95_undefined"]) == (1, 1, 0)
    assert (core["dice"], core["nsd"], core["hd95"]) == (pytest.approx(0.5), pytest.approx(0.5), 3.0)
    assert core["ci"]["hd95"] == [2.0, 4.0], "one patient has 4, the other 2 and an undefined one"
    assert found["ci"]["dice"][0] <= found["dice"] <= found["ci"]["dice"][1]
    alone = mask_scores(rows, ["a", "a", "a"], ["core", "rim"])
    assert (alone["groups"], alone["ci"]["dice"], alone["dice"]) == (1, None, found["dice"])
    assert mask_scores(rows[::2], ["a", "b"], ["core", "rim"])["dice"] is None


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(DataError, match="same size"):
        overlap_counts(np.zeros((2, 3, 4, 4)), np.zeros((2, 4, 5)))
    with pytest.raises(DataError, match="NaN or infinite"):
        overlap_counts(np.full((1, 2, 2, 2), np.nan), np.zeros((1, 2, 2)))


def test_volumes_of_cases_with_and_without_a_structure_by_hand() -> None:
    """Columns: both, predicted, true. Two patients; the second structure is true in one case only."""
    counts = [[[8, 12, 10], [0, 4, 0]], [[5, 5, 10], [0, 0, 0]], [[0, 0, 4], [1, 3, 2]]]
    voxel = np.array([0.5, 0.5, 2.0])[:, None, None].repeat(2, 1)
    rows = np.concatenate([counts, counts, np.full((3, 2, 2), np.nan), voxel], axis=-1)
    found = mask_scores(rows, ["a", "b", "b"], ["core", "rim"])
    core, rim = found["per_structure"]
    assert core["volume_bias"] == pytest.approx(np.mean([1.0, -2.5, -8.0]))
    assert core["volume_bias_relative"] == pytest.approx(np.mean([0.2, -0.5, -1.0]))
    assert (core["n"], core["empty"], core["false"], core["missed"]) == (3, 0, 0, 1)
    assert rim["volume_bias"] == pytest.approx(np.mean([2.0, 0.0, 2.0]))
    assert rim["volume_bias_relative"] == pytest.approx(0.5), "of the one case that has it"
    assert (rim["n"], rim["empty"], rim["false"], rim["missed"]) == (1, 2, 1, 0)
    assert found["volume_bias"] == pytest.approx((core["volume_bias"] + rim["volume_bias"]) / 2)
    assert core["ci"]["volume_bias"] == [pytest.approx(-5.25), pytest.approx(1.0)], "of the patients alone"
    assert mask_scores(rows, ["a"] * 3, ["core", "rim"])["ci"]["volume_bias"] is None
