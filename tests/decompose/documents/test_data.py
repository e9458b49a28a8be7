"""The document of `data` states an inspection as it is, of images and of graphs."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator
from small_graphs import graph_config

from lorkit.decompose.config import Config
from lorkit.decompose.data.inspection import inspect
from lorkit.decompose.documents.data import DataDocument
from lorkit.decompose.documents.schemas import schema_of


def of_images(tmp_path: Path) -> DataDocument:
    return inspect(
        Config.model_validate({"image": {"size": 8, "channels": 1}, "regions": {"chest": {"data": "phantom:chest"}}})
    )


def of_graphs(tmp_path: Path) -> DataDocument:
    return inspect(graph_config(tmp_path))


@pytest.mark.parametrize("find", [of_images, of_graphs])
def test_an_inspection_is_a_document(tmp_path: Path, find: Callable[[Path], DataDocument]) -> None:
    found = find(tmp_path)
    document = found.to_json()
    assert DataDocument.model_validate_json(json.dumps(document)) == found
    Draft202012Validator(schema_of("data")).validate(document)
    (region,) = document["regions"].values()
    assert ("graph" in region) is (find is of_graphs)
