"""Numbers in masks and their names."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel
import numpy as np
import pytest

from lorkit.decompose.data.readers.structure_discovery import find_structures
from lorkit.decompose.errors import DataError


def pairs(root: Path, *values: int) -> Path:
    mask = np.zeros((4, 5, 6), np.int16)
    for place, value in enumerate(values):
        mask[place] = value
    for name in ("images", "labels"):
        (root / name).mkdir()
        nibabel.save(nibabel.Nifti1Image(mask, np.eye(4)), root / name / "c.nii.gz")
    return root


def test_numbers_without_names_get_one(tmp_path: Path) -> None:
    structures, notes = find_structures(pairs(tmp_path, 5, 1047))
    assert structures == {"label_5": 5, "label_1047": 1047}
    assert notes == ("values of masks without a name: 5, 1047; rename their structures",)


def test_a_table_beside_names_them(tmp_path: Path) -> None:
    (tmp_path / "labels.csv").write_text("id|name\n0|Background\n5|liver\n47|liver\n9|heart\n", encoding="utf-8-sig")
    structures, notes = find_structures(pairs(tmp_path, 5, 47))
    assert structures == {"liver": 5, "liver_47": 47}
    assert notes == ("names of structures from labels.csv", "in no mask, and left out: heart")


@pytest.mark.parametrize(
    ("labels", "structures", "note"),
    [
        ({"0": "background", "1": "liver", "2": "tumour"}, {"liver": 1, "tumour": 2}, None),
        ({"background": 0, "liver": 1, "ignore": 2}, {"liver": 1, "ignore": 2}, None),
        ({"background": 0, "liver": 1, "spleen": 3}, {"liver": 1, "label_2": 2}, "in no mask, and left out: spleen"),
        ({"background": 0, "whole": [1, 2]}, {"label_1": 1, "label_2": 2}, "overlap"),
    ],
)
def test_the_names_of_a_dataset(
    tmp_path: Path, labels: dict[str, object], structures: dict[str, int], note: str | None
) -> None:
    (tmp_path / "dataset.json").write_text(json.dumps({"labels": labels}), encoding="utf-8")
    found, notes = find_structures(pairs(tmp_path, 1, 2))
    assert found == structures
    assert note is None or any(note in text for text in notes)


def test_arrays_with_and_without_names(tmp_path: Path) -> None:
    masks = np.array([[[0, 1], [2, 1]]])
    np.savez(tmp_path / "a.npz", masks=masks, mask_names=["background", "disc", "cup"])
    assert find_structures(tmp_path / "a.npz") == ({"disc": 1, "cup": 2}, ())
    np.savez(tmp_path / "b.npz", masks=300 * masks)
    assert find_structures(tmp_path / "b.npz")[0] == {"label_300": 300, "label_600": 600}
    np.savez(tmp_path / "c.npz", masks=0 * masks)
    with pytest.raises(DataError, match="are empty"):
        find_structures(tmp_path / "c.npz")
    np.savez(tmp_path / "d.npz", masks=masks + 0.4)
    with pytest.raises(DataError, match=r"value 0\.4 in a mask"):
        find_structures(tmp_path / "d.npz")
