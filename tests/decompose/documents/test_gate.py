from __future__ import annotations

from lorkit.decompose.documents.gate import Accuracy, Reasons, Subset


def test_subsets_are_structures_and_then_subgroups_by_their_column() -> None:
    structure, subgroup = (
        Subset.model_construct(name="rim", column=None),
        Subset.model_construct(name="f", column="sex"),
    )
    accuracy = Accuracy.model_construct(subgroups=[subgroup], structures=[structure])
    assert [one.title for one in accuracy.subsets] == ["rim", "sex=f"]


def test_every_reason_is_said_once() -> None:
    reasons = Reasons(deterministic=["a"], latency=["b", "a"], accuracy=["c"], budget=["b", "d"])
    assert reasons.all == ["a", "b", "c", "d"]
