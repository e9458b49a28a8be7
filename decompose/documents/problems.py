"""Describe invalid documents: the wrong key, its value, and what is required."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from lorkit.decompose.errors import ArtifactError, plural

DIGEST = "^[0-9a-f]{64}$"
"""Pattern of a SHA-256 as text."""
_REQUIRED = {
    "bool_type": "true or false",
    "dict_type": "an object",
    "finite_number": "a finite number",
    "float_type": "a number",
    "greater_than": "more than {gt:g}",
    "greater_than_equal": "at least {ge:g}",
    "int_from_float": "a whole number",
    "int_type": "a whole number",
    "less_than_equal": "at most {le:g}",
    "list_type": "a list",
    "literal_error": "{expected}",
    "model_type": "an object",
    "path_type": "a path",
    "string_type": "text",
    "tuple_type": "a list",
    "union_tag_invalid": "one of {expected_tags}",
    "value_error": "{error}",
}
"""What is required, by pydantic's type of error; names in braces are of its context."""
_ABSENT = ("missing", "union_tag_not_found")
_SHOWN = 80


def to_artifact_error(error: ValidationError, value: object, where: Path | str, fix: str) -> ArtifactError:
    """Return the error that names the first wrong key of `value`, the plain data read from `where`."""
    problems = _of_best_alternatives(error.errors(include_url=False), value)
    first = problems[0]
    keys, kind = _keys(first, value), first["type"]
    key = ".".join(map(str, keys))
    if kind in _ABSENT:
        return ArtifactError(f"{where} lacks {key}", required="every key of its version", fix=fix)
    if kind == "extra_forbidden":
        return ArtifactError(f"{where} has the unknown key {key}", required="no other key", fix=_or_other_version(fix))
    if kind == "literal_error" and key.endswith("version"):
        fix = _or_other_version(fix)
    same = [one for one in problems if _keys(one, value) == keys and one["type"] not in (*_ABSENT, "extra_forbidden")]
    required = " or ".join(dict.fromkeys(_required(one) for one in same))
    return ArtifactError(f"{where} {_found(first, key)}", required=required, fix=fix)


def _or_other_version(fix: str) -> str:
    return f"use the lorkit version that wrote it, or {fix}"


def _of_best_alternatives(errors: list[ErrorDetails], value: object) -> list[ErrorDetails]:
    """Return the errors, first those of the best matching alternative of keys that allow several models."""
    branches = [_branch(one, value) for one in errors]
    if branches[0] is None:
        return errors
    count, place = Counter(branches), branches[0][:-1]
    rivals = [branch for branch in branches if branch is not None and branch[:-1] == place]
    best = min(rivals, key=lambda branch: count[branch])
    order = sorted(range(len(errors)), key=lambda index: branches[index] != best)
    return [errors[index] for index in order]


def _branch(error: ErrorDetails, value: object) -> tuple[int | str, ...] | None:
    """Return the location of an error up to the first name of a model or type; None if it has only keys."""
    location = _location(error)
    known = _walk(location, value)
    return next((location[: index + 1] for index, inside in enumerate(known) if not inside), None)


def _keys(error: ErrorDetails, value: object) -> list[int | str]:
    """Return the location of an error without the names of models and types that pydantic adds to it."""
    location = _location(error)
    keys = [one for one, inside in zip(location, _walk(location, value), strict=True) if inside]
    if error["type"] == "missing":
        return [*keys, error["loc"][-1]]
    tag = error.get("ctx", {}).get("discriminator")
    return keys if tag is None else [*keys, tag.strip("'")]


def _location(error: ErrorDetails) -> tuple[int | str, ...]:
    return error["loc"][:-1] if error["type"] == "missing" else error["loc"]


def _walk(location: Sequence[int | str], value: object) -> list[bool]:
    """Return for each part of a location whether it is a key or an index of the data."""
    inside = []
    for one in location:
        is_key = isinstance(value, dict) and one in value
        is_index = isinstance(value, list) and isinstance(one, int) and one < len(value)
        inside.append(is_key or is_index)
        if is_key or is_index:
            value = value[one]  # type: ignore[index]
    return inside


def _found(error: ErrorDetails, key: str) -> str:
    found = error["ctx"]["tag"] if error["type"] == "union_tag_invalid" else error["input"]
    if error["type"] in ("too_long", "too_short"):
        return f"states {key} with {plural(len(found), 'entry', plural='entries')}"
    text = json.dumps(found, ensure_ascii=False)
    shown = text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"
    return f"states {key} as {shown}" if key else f"is {shown}"


def _required(error: ErrorDetails) -> str:
    kind, context = error["type"], error.get("ctx", {})
    if kind == "too_long":
        return f"at most {plural(context['max_length'], 'entry', plural='entries')}"
    if kind == "too_short":
        return f"at least {plural(context['min_length'], 'entry', plural='entries')}"
    if kind == "string_pattern_mismatch" and context["pattern"] == DIGEST:
        return "a SHA-256 as 64 hexadecimal digits"
    return _REQUIRED[kind].format(**context) if kind in _REQUIRED else error["msg"].removeprefix("Input should be ")
