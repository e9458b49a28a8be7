"""Methods at chance, and classes that a method never answers, are named."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np

from lorkit.decompose.evaluation.comparison.chance import unproven
from lorkit.decompose.regions import Region

TRUTH = np.arange(60) % 3


def part() -> Any:
    region = Region(name="eye", classes=("a", "b", "c"))
    return SimpleNamespace(region=region, targets=TRUTH, groups=[f"p{index}" for index in range(60)])


def model(answers: Any) -> dict[str, Any]:
    return {"eye": np.eye(3, dtype=np.float32)[np.asarray(answers)]}


def test_a_method_that_knows_its_classes_is_not_mentioned() -> None:
    assert unproven("'mtl'", [model(TRUTH)], {"eye": part()}) == []


def test_chance_and_missing_answers_of_any_seed_are_said_with_the_region() -> None:
    one, two = unproven("'mtl'", [model(TRUTH), model(0 * TRUTH)], {"eye": part()})
    assert one.startswith("region eye: 'mtl' is not shown to be better than chance (balanced accuracy 0.333; its 95 %")
    assert two == "region eye: 'mtl' never answers b, c, which the cases show, in at least one seed"


def test_a_class_that_is_missed_is_said_although_the_others_are_well_known() -> None:
    (only,) = unproven("'stl' at fraction 0.1", [model(np.where(TRUTH == 2, 0, TRUTH))], {"eye": part()})
    assert only.startswith("region eye: 'stl' at fraction 0.1 never answers c,")


def test_labels_below_one_half_are_no_missing_answers() -> None:
    region = Region(name="lung", task="multilabel", classes=("a", "b"))
    targets = np.stack([TRUTH == 0, TRUTH == 1], axis=1).astype(np.int64)
    prepared: Any = SimpleNamespace(region=region, targets=targets, groups=[f"p{index}" for index in range(60)])
    rare = {"lung": (4.0 * targets - 6.0).astype(np.float32)}  # right in order, and never positive at one half
    assert unproven("'mtl'", [rare], {"lung": prepared}) == []
