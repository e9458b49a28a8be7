"""Numbers in masks: gaps, ignored pixels, rounding, and what has no name."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lorkit.decompose.artifacts.arrays import IGNORED, IGNORED_BIT
from lorkit.decompose.data.samples.mask_labels import MaskLabels, OverlappingLabels, labels_of, whole_numbers
from lorkit.decompose.errors import DataError, UsageError


@given(st.dictionaries(st.sampled_from("abcdefgh"), st.integers(1, 3000), min_size=1), st.integers(0, 2**20))
def test_numbers_with_gaps_become_indices_in_their_order(numbers: dict[str, int], seed: int) -> None:
    if len(set(numbers.values())) < len(numbers):
        with pytest.raises(ValueError, match="each once"):
            MaskLabels.of(numbers)
        return
    labels = MaskLabels.of(numbers)
    assert list(labels.ids) == sorted(numbers.values())
    index = np.random.default_rng(seed).integers(0, len(numbers) + 1, (3, 4))
    raw = np.array([0, *labels.ids])[index]
    np.testing.assert_array_equal(labels(raw, "a.nii"), index)
    assert [numbers[name] for name in labels.names] == list(labels.ids)


def test_ignored_pixels_and_the_background_are_no_structures() -> None:
    labels = MaskLabels.of({"Background": 0, "liver": 1, "Ignore": 3, "tumour": 2})
    assert labels.names == ("liver", "tumour")
    np.testing.assert_array_equal(labels(np.array([[0, 1], [2, 3]]), "a"), [[0, 1], [2, IGNORED]])


def test_a_number_without_a_name_is_refused_unless_the_region_names_a_choice() -> None:
    raw = np.array([[0, 47], [12, 99]])
    with pytest.raises(DataError, match=r"a\.nii: value 12 in a mask; required: 0 \(background\), 47 \(spleen\)"):
        MaskLabels.of({"spleen": 47})(raw, "a.nii")
    np.testing.assert_array_equal(labels_of({"spleen": 47})(raw, "a.nii"), [[0, 1], [0, 0]])


@pytest.mark.parametrize("numbers", [{"a": 1, "b": 1}, {"a": -1}, {f"s{index}": index for index in range(1, 257)}])
def test_numbers_that_cannot_be_are_refused(numbers: dict[str, int]) -> None:
    with pytest.raises(UsageError, match=r"structures \{"):
        labels_of(numbers)


@pytest.mark.parametrize("kind", [np.float32, np.float64])
def test_rounding_is_undone_and_fractions_are_named(kind: type) -> None:
    raw = np.array([0.99999994, 2.0000002, 0.0], kind)
    np.testing.assert_array_equal(whole_numbers(raw, "a"), [1, 2, 0])
    for value in (0.5, float("nan"), float("inf")):
        with pytest.raises(DataError, match=rf"a\.nii: value {value} in a mask \(1 such pixels\)"):
            whole_numbers(np.array([1.0, value], kind), "a.nii")


def test_without_names_numbers_are_indices() -> None:
    np.testing.assert_array_equal(MaskLabels()(np.array([[0, 3]], np.int32), "a"), [[0, 3]])
    for values in ([-1, 0], [0, 300], [0, IGNORED]):
        with pytest.raises(DataError, match="a mask with values"):
            MaskLabels()(np.array([values], np.int32), "a")


def test_a_number_may_be_of_several_structures_and_a_structure_of_several_numbers() -> None:
    """Numbers 1 to 4 of a file, of which 9 has no name and 4 is ignored; each structure against its own numbers."""
    labels = OverlappingLabels.of({"background": 0, "liver": (1, 2), "vessel": (2, 3), "ignore": 4}, subset=True)
    raw = np.array([[0, 1, 2], [3, 4, 9]])
    mask = labels(raw, "a.nii")
    assert labels.names == ("liver", "vessel")
    np.testing.assert_array_equal(mask, [[0, 1, 3], [2, IGNORED_BIT, 0]])
    assert mask.dtype == np.uint32
    with pytest.raises(DataError, match=r"a\.nii: value 9 in a mask; required: 0 \(background\), 1 \(liver\), 2"):
        OverlappingLabels.of({"liver": (1, 2), "vessel": (2, 3), "ignore": 4})(raw, "a.nii")


@pytest.mark.parametrize(
    "numbers", [{"a": (1, 0)}, {"a": (1, 2), "ignore": 2}, {f"s{index}": index for index in range(1, 33)}]
)
def test_numbers_of_overlapping_structures_that_cannot_be_are_refused(
    numbers: dict[str, int | tuple[int, ...]],
) -> None:
    with pytest.raises(UsageError, match=r"structures \{"):
        labels_of(numbers, overlap=True)


def test_structures_that_share_a_number_name_the_key_that_allows_it() -> None:
    with pytest.raises(UsageError, match="overlap: true"):
        labels_of({"liver": 1, "vessel": 1})
    assert labels_of({"liver": 1, "vessel": 1}, overlap=True)(np.array([1]), "a").tolist() == [3]
