"""The document of `init` has columns and a split only for graphs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from jsonschema import Draft202012Validator

from lorkit.decompose.documents.configuration import InitDocument
from lorkit.decompose.documents.schemas import schema_of

IMAGES: dict[str, Any] = {
    "config": Path("a.yaml"),
    "region_names": ["chest"],
    "files": [{"config": Path("a.yaml"), "region_names": ["chest"]}],
    "skipped": {"notes.txt": "no image"},
    "notes": [],
}
GRAPHS = {
    "columns": {"fraud": [{"name": "user", "role": "relation", "why": "values repeat"}]},
    "proposed_split": {"by": "entity", "entities": ["user"]},
}


def test_keys_of_graphs_are_absent_for_images() -> None:
    validator = Draft202012Validator(schema_of("init"))
    images = InitDocument.model_validate(IMAGES).to_json()
    graphs = InitDocument.model_validate(IMAGES | GRAPHS).to_json()
    validator.validate(images)
    validator.validate(graphs)
    assert graphs.keys() - images.keys() == GRAPHS.keys()
    assert images["files"][0]["config"] == "a.yaml"
    assert list(validator.iter_errors(graphs | {"proposed_split": "entity"}))
