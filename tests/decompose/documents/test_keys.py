"""A key means the same in every document: its values are of one kind wherever it stands."""

from __future__ import annotations

import json
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest

from lorkit.decompose.documents.schemas import DOCUMENTS

PUBLISHED = Path(__file__).parents[3] / "docs" / "schemas"
Kinds = frozenset[str]
Schema = dict[str, Any]

SIDES = "a side of a comparison holds what is compared: a name, a number, a measured export, a row of a table"
EXCEPTIONS = {
    "baseline": SIDES,
    "candidate": SIDES,
    "control": SIDES,
    "then": SIDES,
    "now": SIDES,
    "ci": "the interval of the value beside it; by metric where a part has several metrics",
}
"""Why a key may have several kinds."""


def kinds_of(schema: Schema, definitions: Schema) -> set[str]:
    """Return the kinds of JSON values that a schema allows, without null.

    An `object` has stated keys, or any; a `map` has names as keys and values of one kind. A whole number is a number.
    """
    if "$ref" in schema:
        return kinds_of(definitions[schema["$ref"].rsplit("/", 1)[-1]], definitions)
    several = [*schema.get("anyOf", ()), *schema.get("oneOf", ())]
    if several:
        return set().union(*(kinds_of(one, definitions) for one in several))
    kind = schema.get("type", "any")
    if kind == "object" and "properties" not in schema:
        inner = schema.get("additionalProperties", True)
        plain = isinstance(inner, bool) or kinds_of(inner, definitions) == {"any"}
        return {"object"} if plain else {"map"}
    return {"number" if kind == "integer" else kind} - {"null"}


def places_of(schemas: dict[str, Schema]) -> dict[str, dict[Kinds, set[str]]]:
    """Return every key with its kinds, and the parts of documents that state it as each."""
    found: dict[str, dict[Kinds, set[str]]] = defaultdict(lambda: defaultdict(set))
    for name, schema in schemas.items():
        definitions = schema.get("$defs", {})
        for part, node in ((name, schema), *definitions.items()):
            for key, value in node.get("properties", {}).items():
                kinds = frozenset(kinds_of(value, definitions))
                if kinds:  # a key that is always null says nothing
                    found[key][kinds].add(part)
    return found


def conflicts_of(schemas: dict[str, Schema]) -> dict[str, dict[Kinds, set[str]]]:
    """Return the keys with more than one kind."""
    return {key: dict(kinds) for key, kinds in places_of(schemas).items() if len(kinds) > 1}


@pytest.fixture(scope="module")
def schemas() -> dict[str, Schema]:
    """The published ones; test_schemas proves that they are those of the documents."""
    return {name: json.loads((PUBLISHED / f"{name}.schema.json").read_text(encoding="utf-8")) for name in DOCUMENTS}


def test_a_key_is_of_one_kind_in_all_documents(schemas: dict[str, Schema]) -> None:
    found = {key: places for key, places in conflicts_of(schemas).items() if key not in EXCEPTIONS}
    assert not found, "name one of them otherwise: the same key means the same in every document"


def test_every_exception_is_needed(schemas: dict[str, Schema]) -> None:
    assert EXCEPTIONS.keys() == conflicts_of(schemas).keys()


def test_a_key_of_another_kind_is_found(schemas: dict[str, Schema]) -> None:
    changed = {**schemas, "new": {"properties": {"seeds": {"type": "integer"}, "n": {"type": "number"}}}}
    assert conflicts_of(changed).keys() - EXCEPTIONS.keys() == {"seeds"}
    listed = {"type": "object", "additionalProperties": {"type": "integer"}}
    changed["new"] = {"properties": {"machine": listed, "run": {"anyOf": [{"type": "string"}, {"type": "null"}]}}}
    assert conflicts_of(changed).keys() - EXCEPTIONS.keys() == {"machine"}
