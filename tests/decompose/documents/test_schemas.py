"""The published schemas are generated from the documents, and say what the documents say."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator

from lorkit.decompose.documents import schemas
from lorkit.decompose.documents.predict import LabelledImage, PredictDocument, PredictingNetwork
from lorkit.decompose.documents.schemas import DOCUMENTS, main, schema_of, schema_text
from lorkit.decompose.errors import UsageError

PUBLISHED = Path(__file__).parents[3] / "docs" / "schemas"


@pytest.mark.parametrize("name", DOCUMENTS)
def test_the_published_schema_is_the_generated_one(name: str) -> None:
    text = (PUBLISHED / f"{name}.schema.json").read_text(encoding="utf-8")
    assert text == schema_text(name), "run `python -m lorkit.decompose.documents.schemas docs/schemas`"
    schema = json.loads(text)
    Draft202012Validator.check_schema(schema)
    assert schema["$id"] == f"urn:lorkit:schema:{name}:1"
    assert {"schema_version", "kind", "warnings"} <= set(schema["required"])


def test_no_other_schema_is_published(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(schemas, "schema_text", lambda name: f"of {name}")  # the texts are compared above
    main(tmp_path)
    assert (tmp_path / "gate.schema.json").read_text(encoding="utf-8") == "of gate"
    assert sorted(path.name for path in PUBLISHED.iterdir()) == sorted(path.name for path in tmp_path.iterdir())


def test_an_unknown_name_is_refused() -> None:
    with pytest.raises(UsageError, match=r"unknown document 'gates'.*did you mean 'gate'"):
        schema_of("gates")


def test_a_document_is_as_its_schema_says_and_a_changed_one_is_not() -> None:
    row = LabelledImage(
        input="a.png", label=None, probability=None, probabilities=None, top=[], out_of_region=True,
        distance=3.0, limit=2.0,
    )  # fmt: skip
    network = PredictingNetwork(
        path="e", kind="expert", digest="0" * 64, owner="expert", target=None, precision="fp32"
    )  # fmt: skip
    document = PredictDocument(
        not_for_diagnosis=True, synthetic=False, region="chest", task="classification", classes=["a", "b"],
        network=network, predictions=[row],
    )  # fmt: skip
    validator = Draft202012Validator(schema_of("predict"))
    found = document.to_json()
    assert not list(validator.iter_errors(found))
    for change in ({"extra": 1}, {"not_for_diagnosis": False}, {"predictions": [{"input": "a.png"}]}):
        assert list(validator.iter_errors(found | change))
