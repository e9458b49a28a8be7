"""Run command lines in this process, as a shell would see them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin

import pytest
import typer.main
from jsonschema import Draft202012Validator
from pydantic import BaseModel

from lorkit.cli.main import run_command_line
from lorkit.decompose.documents.schemas import schema_of

WHOLE = {"data", "doctor", "error", "extract", "init", "pretrain", "profile", "profiles", "train"}
"""Kinds whose documents are whole in all tests of commands; those of other kinds may be drafts with some keys."""


@dataclass(frozen=True)
class Outcome:
    """What a command line did: its exit code and what it printed."""

    code: int
    stdout: str
    stderr: str

    @property
    def document(self) -> dict[str, Any]:
        """The one JSON document on stdout."""
        found: dict[str, Any] = json.loads(self.stdout)
        if found["kind"] in WHOLE:
            Draft202012Validator(schema_of(found["kind"])).validate(found)
        return found


@pytest.fixture(scope="session", autouse=True)
def parser_made_once() -> Iterator[None]:
    """Make the parser of the command line once for all calls: it is most of the time of one that ends at once."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(typer.main, "get_command", cache(typer.main.get_command))
        yield


@pytest.fixture
def decompose(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Outcome]:
    """Return a function that runs `decompose ...` in an empty directory."""
    monkeypatch.chdir(tmp_path)

    def call(*words: object) -> Outcome:
        capsys.readouterr()
        code = run_command_line([str(word) for word in words])
        captured = capsys.readouterr()
        return Outcome(code, captured.out, captured.err)

    return call


def as_document(annotation: Any, value: Any) -> Any:
    """Build a document, or a part of one, from the keys that a test is about; reading any other key fails.

    Of several possible parts it takes the first that has all the keys.
    """
    options = [annotation]
    if get_origin(annotation) in (Union, UnionType, Annotated):
        options = [one for one in get_args(annotation) if isinstance(one, type) or get_origin(one) is not None]
    for option in options:
        if isinstance(value, dict) and isinstance(option, type) and issubclass(option, BaseModel):
            fields = option.model_fields
            if value.keys() <= fields.keys():
                parts = {name: as_document(fields[name].annotation, part) for name, part in value.items()}
                return option.model_construct(_fields_set=set(parts), **parts)
        inner = get_args(option)
        if isinstance(value, list) and get_origin(option) is list:
            return [as_document(inner[0], part) for part in value]
        if isinstance(value, dict) and get_origin(option) is dict:
            return {name: as_document(inner[1], part) for name, part in value.items()}
        if get_origin(option) in (Union, UnionType, Annotated):
            return as_document(option, value)
    return value


@pytest.fixture
def draft() -> Callable[..., Any]:
    """Build documents of which a test states some keys: `draft(BenchDocument, {"exports": [...]})`."""
    return as_document
