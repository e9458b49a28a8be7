"""The reference has a section for each command; tests/test_docs.py compares the page with it."""

from __future__ import annotations

import typer.main

from lorkit.cli.commands import list_commands
from lorkit.cli.main import app
from lorkit.cli.reference import reference


def test_each_command_has_a_section() -> None:
    titles = [line.removeprefix("## ") for line in reference().splitlines() if line.startswith("## ")]
    assert titles == [path for path, _ in list_commands(typer.main.get_command(app))]
