from __future__ import annotations

from lorkit.decompose.documents.gate import Accuracy, Subset, reasons_of


def test_subsets_are_structures_and_then_subgroups_by_their_column() -> None:
    structure, subgroup = (
        Subset.model_construct(name="rim", column=None),
        Subset.model_construct(name="f", column="sex"),
    )
    accuracy = Accuracy.model_construct(by_subgroup=[subgroup], by_structure=[structure])
    assert [one.title for one in accuracy.subsets] == ["rim", "sex=f"]


def test_every_reason_is_said_once() -> None:
    by_check = {"budget_test": ["b", "d"], "accuracy_test": ["c"], "latency_test": ["b", "a"], "deterministic": ["a"]}
    assert reasons_of(by_check) == ["a", "b", "c", "d"]  # type: ignore[arg-type]
