"""The JSON Schemas of the documents, which other programs can rely on.

`python -m lorkit.decompose.documents.schemas docs/schemas` writes all of them; a test compares the files.
"""

from __future__ import annotations

import ast
import inspect
import itertools
import json
import sys
import textwrap
from pathlib import Path
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema

from lorkit.decompose.artifacts import SCHEMA_VERSION, SEAL, write_text
from lorkit.decompose.documents.base import Document, ErrorDocument
from lorkit.decompose.documents.bench import BenchDocument
from lorkit.decompose.documents.clean import CleanDocument
from lorkit.decompose.documents.compare import CompareDocument
from lorkit.decompose.documents.configuration import InitDocument
from lorkit.decompose.documents.data import DataDocument
from lorkit.decompose.documents.evaluate import EvaluateDocument
from lorkit.decompose.documents.expert import ExpertInfo, ExtractDocument
from lorkit.decompose.documents.export import ExportInfo
from lorkit.decompose.documents.export_results import ExportDocument
from lorkit.decompose.documents.find import FindDocument
from lorkit.decompose.documents.gate import GateDocument
from lorkit.decompose.documents.given import GivenInfo
from lorkit.decompose.documents.hardware import DoctorDocument, ProfileDocument, ProfilesDocument
from lorkit.decompose.documents.inspect import InspectDocument
from lorkit.decompose.documents.mixture import MixtureInfo
from lorkit.decompose.documents.pack import PackDocument
from lorkit.decompose.documents.predict import PredictDocument, StatisticsDocument
from lorkit.decompose.documents.problems import DIGEST
from lorkit.decompose.documents.report import ReportDocument, ReportFiles
from lorkit.decompose.documents.training import PretrainDocument, TrainDocument
from lorkit.decompose.documents.verify import VerifyDocument
from lorkit.decompose.errors import unknown

DOCUMENTS: dict[str, type[Document]] = {
    "bench": BenchDocument,
    "clean": CleanDocument,
    "compare": CompareDocument,
    "data": DataDocument,
    "doctor": DoctorDocument,
    "error": ErrorDocument,
    "evaluate": EvaluateDocument,
    "expert-info": ExpertInfo,
    "export": ExportDocument,
    "export-info": ExportInfo,
    "extract": ExtractDocument,
    "find": FindDocument,
    "gate": GateDocument,
    "init": InitDocument,
    "inspect": InspectDocument,
    "mixture-info": MixtureInfo,
    "network-info": GivenInfo,
    "pack": PackDocument,
    "predict": PredictDocument,
    "pretrain": PretrainDocument,
    "profile": ProfileDocument,
    "profiles": ProfilesDocument,
    "report": ReportDocument,
    "report-files": ReportFiles,
    "statistics": StatisticsDocument,
    "train": TrainDocument,
    "verify": VerifyDocument,
}
"""Documents by command; `error` is that of every command that fails.

`report`, `statistics` and `*-info` are files: `report.json`, `statistics.json` of `predict --statistics`, `expert.json`
of an expert or of several regions, `export.json`, and `network.json` of a network that lorkit did not train.
"""
_DRAFT = "https://json-schema.org/draft/2020-12/schema"
_HEAD = ("schema_version", "kind", "warnings")
_SEALED = ("bench", "evaluate", "gate")
_SEAL = {
    "description": "Only in files below `measurements/`: SHA-256 of the rest, as JSON with sorted keys and no spaces.",
    "pattern": DIGEST,
    "type": "string",
}


class _Plain(GenerateJsonSchema):
    """Omit titles, which repeat the keys, and defaults, which stand for missing keys."""

    def field_title_should_be_set(self, schema: Any) -> bool:
        return False

    def model_schema(self, schema: Any) -> dict[str, Any]:
        return _described(super().model_schema(schema), schema["cls"])

    def typed_dict_schema(self, schema: Any) -> dict[str, Any]:
        return _described(super().typed_dict_schema(schema), schema["cls"])

    def default_schema(self, schema: Any) -> dict[str, Any]:
        return self.generate_inner(schema["schema"])


def _described(schema: dict[str, Any], model: type) -> dict[str, Any]:
    """Add the texts below the fields of a model or typed dictionary to its schema.

    Not by pydantic's `use_attribute_docstrings`, which reads the source of every model when it is imported.
    """
    for one in reversed(model.__mro__ if issubclass(model, BaseModel) else [model]):
        if one in (object, BaseModel):
            continue
        try:
            (definition,) = ast.parse(textwrap.dedent(inspect.getsource(one))).body
        except OSError:  # a generic model with its parameter, whose texts are those of the model
            continue
        assert isinstance(definition, ast.ClassDef)
        for field, after in itertools.zip_longest(definition.body, definition.body[1:]):
            if not (isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name)):
                continue
            fields = getattr(model, "model_fields", {})
            name = getattr(fields.get(field.target.id), "alias", None) or field.target.id
            shown = schema.get("properties", {}).get(name, {})
            shown.pop("description", None)  # of the field that this one replaces
            if isinstance(after, ast.Expr) and shown:
                shown["description"] = inspect.cleandoc(ast.literal_eval(after.value))
    return schema


def schema_of(name: str) -> dict[str, Any]:
    """Return the JSON Schema (draft 2020-12) of a document; raise UsageError for an unknown name."""
    if name not in DOCUMENTS:
        raise unknown("document", name, DOCUMENTS, fix="name one of them")
    found = DOCUMENTS[name].model_json_schema(schema_generator=_Plain)
    if name in _SEALED:
        found["properties"] |= {SEAL: _SEAL}
    required = [*_HEAD, *(key for key in found["required"] if key not in _HEAD)]
    return {"$schema": _DRAFT, "$id": f"urn:lorkit:schema:{name}:{SCHEMA_VERSION}", **found, "required": required}


def schema_text(name: str) -> str:
    """Return the JSON Schema of a document as the text of its file."""
    return json.dumps(schema_of(name), indent=1, ensure_ascii=False) + "\n"


def main(folder: Path) -> None:
    """Write every schema into a folder as `NAME.schema.json`."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in DOCUMENTS:
        write_text(folder / f"{name}.schema.json", schema_text(name))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
