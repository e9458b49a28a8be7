"""The documents of training have a plan only in a dry run, and refuse keys without a schema."""

from __future__ import annotations

from pathlib import Path

import pytest
from jsonschema import Draft202012Validator
from pydantic import ValidationError

from lorkit.decompose.documents.schemas import schema_of
from lorkit.decompose.documents.training import PretrainDocument, TrainDocument
from lorkit.decompose.events import CacheStatistics
from lorkit.decompose.training.new_run import TrainResult

CACHE: CacheStatistics = {
    "phase": "train",
    "asked_epochs": 1,
    "asked_epoch_seconds": 2.0,
    "asked_seconds": 1.5,
    "read_epochs": 0,
    "read_epoch_seconds": None,
    "read_seconds": None,
    "kept_bytes": 100,
    "speed_up": None,
}


def test_a_result_is_a_document() -> None:
    result = TrainResult(run=Path("runs/x"), regions=("chest",), best={"train": 0.5}, teacher_cache=(CACHE,))
    found = result.document().to_json()
    Draft202012Validator(schema_of("train")).validate(found)
    assert (found["run"], found["region_names"], found["plan"]) == ("runs/x", ["chest"], None)
    assert found["cache_statistics"] == [CACHE]
    with pytest.raises(ValidationError, match="Extra inputs"):
        TrainDocument.model_validate(found | {"cache_statistics": [{**CACHE, "new": 1}]})


def test_weights_of_the_user_need_no_foundation() -> None:
    found = PretrainDocument(path=None).to_json()
    Draft202012Validator(schema_of("pretrain")).validate(found)
    assert found["path"] is None
