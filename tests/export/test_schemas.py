"""Documents that lorkit writes are what the published schemas say, and the schemas notice when they are not."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from lorkit.decompose.artifacts import read_json
from lorkit.decompose.errors import UsageError
from lorkit.decompose.evaluation.evaluation import evaluate
from lorkit.decompose.runs import Run, export_directory
from lorkit.export.benchmarking.benchmark import bench
from lorkit.export.gating.gating import gate
from lorkit.export.reporting.reporting import report
from lorkit.export.runtime import engine as inference
from lorkit.export.schemas import KINDS, read_schema


def errors(document: dict[str, Any]) -> list[str]:
    validator = Draft202012Validator(read_schema(document["kind"]))
    return [f"{list(error.absolute_path)}: {error.message[:120]}" for error in validator.iter_errors(document)]


@pytest.mark.parametrize("kind", KINDS)
def test_schemas_are_schemas_with_a_version(kind: str) -> None:
    schema = read_schema(kind)
    Draft202012Validator.check_schema(schema)
    assert schema["$id"] == f"urn:lorkit:schema:{kind}:{schema['properties']['schema_version']['const']}"
    assert schema["properties"]["kind"]["const"] == kind


def test_an_unknown_kind_is_refused() -> None:
    with pytest.raises(UsageError, match="no schema of 'poem'"):
        read_schema("poem")


def test_gate_bench_and_report_are_as_published(measured: Run) -> None:
    verdict = gate(max_seconds=4.0, max_accuracy_drop=0.05).to_json()
    documents = [verdict, read_json(measured.measurements_dir / "bench.json")]
    documents.append(read_json(report().files[2]))
    for document in documents:
        assert errors(document) == []


def test_every_key_of_a_gate_is_described(measured: Run) -> None:
    verdict = gate(
        max_seconds=4.0, max_accuracy_drop={"chest": 0.05}, update_baseline="store", because="a first one"
    ).to_json()
    assert set(undescribed(verdict, read_schema("gate"))) == set()


def test_every_key_of_a_bench_is_described(measured: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    paths = [
        export_directory(measured, owner, "chest", "onnx", "cpu-generic", "fp32") for owner in ("expert", "student")
    ]
    monkeypatch.setattr(inference, "timer_of", lambda engine: lambda batch: 0.25)
    document = bench(paths[:1], against=paths[1], samples=4, max_seconds=2.0).to_json()
    assert document["exports"][0]["device_median_ms"] == 0.25
    assert set(undescribed(document, read_schema("bench"))) == set()
    assert errors(document) == []
    document["comparisons"][0].pop("ci")
    assert errors(document)


def undescribed(value: Any, schema: dict[str, Any], root: dict[str, Any] | None = None, at: str = "") -> Iterator[str]:
    """Yield the places of keys that a schema does not name."""
    root = schema if root is None else root
    if "$ref" in schema:
        schema = root["$defs"][schema["$ref"].rpartition("/")[2]]
    if "oneOf" in schema:
        schema = schema["oneOf"][-1]
        schema = root["$defs"][schema["$ref"].rpartition("/")[2]]
    for key, inner in value.items() if isinstance(value, dict) and "properties" in schema else ():
        if key in schema["properties"]:
            yield from undescribed(inner, schema["properties"][key], root, f"{at}.{key}")
        else:
            yield f"{at}.{key}"
    if isinstance(value, dict) and isinstance(schema.get("additionalProperties"), dict):
        for key, inner in value.items():
            if key not in schema.get("properties", {}):
                yield from undescribed(inner, schema["additionalProperties"], root, f"{at}.{key}")
    for inner in value if isinstance(value, list) else ():
        yield from undescribed(inner, schema.get("items", {}), root, f"{at}[]")


def test_an_evaluation_is_as_published(extracted: Path) -> None:
    document = evaluate(extracted, model="student").to_json()
    assert errors(document) == []
    changed = copy.deepcopy(document)
    next(iter(changed["regions"].values()))["per_class"][0]["roc"] = [[0, 0], [1, 1]]
    assert errors(changed)


@pytest.mark.parametrize(
    "change",
    [
        lambda document: document.pop("chain"),
        lambda document: document.update(extra=1),
        lambda document: document["table"][0].update(milliseconds=document["table"][0].pop("latency")),
        lambda document: document["table"][0].update(balanced_accuracy=97.0),
        lambda document: document["run"].pop("digest"),
        lambda document: document["chain"][0].update(digest="abc"),
        lambda document: document["evaluations"]["experts"]["chest"].update(confusion=7),
        lambda document: document["table"][0].update(owner="somebody"),
    ],
)
def test_a_changed_key_is_noticed(change: Any, report_document: dict[str, Any]) -> None:
    assert errors(report_document) == []
    change(report_document)
    assert errors(report_document)


@pytest.fixture(scope="module")
def written(measured_run: Path) -> dict[str, Any]:
    from lorkit.decompose.events import ignore
    from lorkit.decompose.runs import open_run
    from lorkit.export.reporting.document import report_document

    return json.loads(json.dumps(report_document(open_run(measured_run), on_event=ignore)))


@pytest.fixture
def report_document(written: dict[str, Any]) -> dict[str, Any]:
    return copy.deepcopy(written)
