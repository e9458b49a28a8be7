"""Every command that has `--json` prints a document with a published schema."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import typer.main
from jsonschema import Draft202012Validator

from lorkit.cli.commands import list_commands
from lorkit.cli.documents import DOCUMENTS_OF
from lorkit.cli.main import app
from lorkit.cli.reference import reference
from lorkit.decompose.documents.schemas import DOCUMENTS, schema_of

COMMANDS = {path.removeprefix("decompose "): command for path, command in list_commands(typer.main.get_command(app))}


def test_every_command_with_json_names_its_document() -> None:
    with_json = {
        words for words, command in COMMANDS.items() if any("--json" in parameter.opts for parameter in command.params)
    }
    assert with_json == DOCUMENTS_OF.keys(), "add the command to DOCUMENTS_OF, and its document to DOCUMENTS"


def test_every_document_has_a_schema_and_every_schema_a_source() -> None:
    files = {"expert-info", "mixture-info", "network-info", "export-info", "report", "statistics"}
    printed = {name for names in DOCUMENTS_OF.values() for name in names}
    assert printed | {"error"} | files == DOCUMENTS.keys()


@pytest.mark.parametrize("words", DOCUMENTS_OF)
def test_a_command_that_fails_prints_the_document_of_errors(decompose: Callable[..., Any], words: str) -> None:
    outcome = decompose(*words.split(), "--no-such-option", "--json")
    assert outcome.code == outcome.document["exit_code"] == 2
    Draft202012Validator(schema_of("error")).validate(outcome.document)


def test_the_reference_names_the_document_of_each_command() -> None:
    text = reference()
    for words, names in DOCUMENTS_OF.items():
        section = text.split(f"## decompose {words}\n")[1].split("\n## ")[0]
        assert all(f"schemas/{name}.schema.json" in section for name in names)
