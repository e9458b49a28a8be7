from __future__ import annotations

from types import SimpleNamespace

from lorkit.decompose.documents.scores import ClassificationScores, SegmentationFigures, SegmentationScores


def test_figures_are_found_by_name_and_those_of_another_task_are_undefined() -> None:
    figures = SegmentationFigures.model_construct(dice=0.75)
    assert (figures.value("dice"), figures.value("auroc")) == (0.75, None)


def test_cases_are_counted_by_class_and_by_structure() -> None:
    classes = [SimpleNamespace(class_name=name, n=n) for name, n in (("x", 3), ("y", 0))]
    assert ClassificationScores.model_construct(per_class=classes).cases == {"x": 3, "y": 0}
    structures = [SimpleNamespace(structure="rim", n=2)]
    assert SegmentationScores.model_construct(per_structure=structures).cases == {"rim": 2}


def test_a_class_without_cases_and_a_structure_without_a_dice_are_undefined() -> None:
    classes = [SimpleNamespace(class_name=name, n=n) for name, n in (("x", 3), ("y", 0))]
    assert ClassificationScores.model_construct(per_class=classes).undefined == ["y"]
    structures = [SimpleNamespace(structure=name, n=0, defined=defined) for name, defined in (("rim", 1), ("core", 0))]
    assert SegmentationScores.model_construct(per_structure=structures).undefined == ["core"]
