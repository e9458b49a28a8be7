from __future__ import annotations

import pytest

from lorkit.decompose.documents.base import parse
from lorkit.decompose.documents.baselines import BaselineRecord
from lorkit.decompose.errors import ArtifactError


@pytest.mark.parametrize("gone", ["current", "history"])
def test_a_record_of_baselines_without_them_is_no_empty_one(gone: str) -> None:
    record = BaselineRecord(current={}, history=[]).to_json()
    assert parse(BaselineRecord, record, "baselines.json").current == {}
    del record[gone]
    with pytest.raises(ArtifactError, match=f"baselines.json lacks {gone}"):
        parse(BaselineRecord, record, "baselines.json")
