from __future__ import annotations

import pytest

from lorkit.decompose.documents.base import parse
from lorkit.decompose.documents.gate import Accuracy, BaselineRecord, Reasons, Subset
from lorkit.decompose.errors import ArtifactError


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


@pytest.mark.parametrize("gone", ["current", "history"])
def test_a_record_of_baselines_without_them_is_no_empty_one(gone: str) -> None:
    record = BaselineRecord(current={}, history=[]).to_json()
    assert parse(BaselineRecord, record, "baselines.json").current == {}
    del record[gone]
    with pytest.raises(ArtifactError, match=f"baselines.json lacks {gone}"):
        parse(BaselineRecord, record, "baselines.json")
