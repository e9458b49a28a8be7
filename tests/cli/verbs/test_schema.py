from __future__ import annotations

import json

import pytest

from lorkit.cli.main import run_command_line
from lorkit.decompose.documents.schemas import schema_of


def test_a_schema_is_printed_on_stdout(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command_line(["schema", "gate"]) == 0
    assert json.loads(capsys.readouterr().out) == schema_of("gate")


def test_an_unknown_document_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command_line(["schema", "gatte"]) == 2
    assert "did you mean 'gate'" in capsys.readouterr().err


def test_an_unlike_name_is_told_no_option_that_schema_lacks(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command_line(["schema", "nothing"]) == 2
    assert capsys.readouterr().err.rstrip().endswith("name one of them")
