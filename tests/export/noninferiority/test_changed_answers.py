from __future__ import annotations

import base64
import io
from types import SimpleNamespace
from typing import Any

import numpy as np
from PIL import Image
from sample_documents import flip

from lorkit.decompose.documents.gate import ChangedAnswer
from lorkit.export.noninferiority.changed_answers import (
    changed_dice,
    changed_labels,
    changed_table,
    counts,
    with_pictures,
)


def cases(labels: list[int], shape: tuple[int, ...] = (1, 8, 8)) -> Any:
    images = np.linspace(0, 1, len(labels) * int(np.prod(shape)), dtype=np.float32).reshape(len(labels), *shape)
    digests = tuple(f"digest{index}" for index in range(len(labels)))
    return SimpleNamespace(labels=np.array(labels), digests=digests, images=images)


def test_every_changed_label_is_named_with_whether_it_is_an_improvement() -> None:
    prepared = cases([0, 1, 2, 0, 1])
    before, after = np.eye(3)[[0, 0, 0, 0, 1]], 4 * np.eye(3)[[0, 1, 1, 2, 1]]
    rows = changed_labels(prepared, (before, after), ("a", "b", "c"))
    assert [(row.case, row.truth, row.baseline, row.candidate, row.outcome) for row in rows] == [
        ("digest3", "a", "a", "c", "worsened"),
        ("digest2", "c", "a", "b", "wrong either way"),
        ("digest1", "b", "a", "b", "improved"),
    ]
    assert counts(rows) == {"improved": 1, "worsened": 1, "wrong either way": 1}
    assert rows[0].candidate_probability > rows[0].baseline_probability
    assert changed_labels(prepared, (before, before), ("a", "b", "c")) == []


def test_a_mask_changes_where_its_dice_moves_visibly_or_something_is_invented() -> None:
    nan = float("nan")
    before = np.array([[0.9, 0.8], [0.9, nan], [0.5, 0.5], [nan, nan]])
    after = np.array([[0.9, 0.803], [0.9, 0.0], [0.9, 0.5], [nan, nan]])
    rows = changed_dice(cases([0, 0, 0, 0]), before, after, ("tip", "base"))
    assert [(row.case, row.outcome, row.structure) for row in rows] == [
        ("digest1", "worsened", "base"),  # nothing is there, and the candidate draws something
        ("digest2", "improved", "tip"),
    ]
    assert (rows[0].structure_baseline, rows[0].structure_candidate) == (1.0, 0.0)


def test_pictures_are_small_and_volumes_show_a_slice() -> None:
    for shape in ((1, 100, 60), (3, 100, 60), (1, 60, 100, 9)):
        rows = with_pictures([ChangedAnswer.model_validate(flip("digest1"))], cases([0, 1], shape))
        with Image.open(io.BytesIO(base64.b64decode(rows[0].thumbnail or ""))) as picture:
            assert max(picture.size) == 48
            assert picture.mode == ("RGB" if shape[0] == 3 else "L")


def test_changed_labels_of_a_case_are_named_by_label_and_uncertain_ones_left_out() -> None:
    prepared = cases([[1, 0, -1], [1, 1, 0]])  # type: ignore[list-item]
    prepared.region = SimpleNamespace(classes=("effusion", "nodule", "mass"))
    before = np.array([[2.0, -2.0, 2.0], [2.0, -2.0, -2.0]])
    after = np.array([[0.5, -2.0, -2.0], [2.0, 2.0, -2.0]])
    rows = changed_table(prepared, (before, after), ([0.0, 0.0, 0.0], [1.0, 1.0, 1.0]))
    assert [(row.case, row.truth, row.baseline, row.candidate, row.outcome) for row in rows] == [
        ("digest0", "effusion: yes", "effusion: yes", "effusion: no", "worsened"),
        ("digest1", "nodule: yes", "nodule: no", "nodule: yes", "improved"),
    ]
