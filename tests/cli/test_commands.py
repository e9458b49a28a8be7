"""The commands of the app, those of groups too."""

from __future__ import annotations

from lorkit.cli import main
from lorkit.cli.commands import list_commands

COMMANDS = [command.__name__ for command in main.COMMANDS]


def test_verbs_are_those_of_the_app() -> None:
    import typer.main

    names = [path.removeprefix("decompose ") for path, _ in list_commands(typer.main.get_command(main.app))]
    assert names == [*COMMANDS, "profiles list", "profiles show", "profiles detect"]
