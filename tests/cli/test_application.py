"""The program, whole or with what a call needs of it."""

from __future__ import annotations

import subprocess
import sys

import pytest
import typer.main

from lorkit import __version__
from lorkit.cli.application import COMMANDS, GROUPS, needed, program

WHOLE = typer.main.get_command(program())


@pytest.mark.parametrize("words", [[], ["-h"], ["--help"]])
def test_the_list_of_commands_is_that_of_the_whole_program(words: list[str]) -> None:
    texts = [
        command.get_help(command.make_context("decompose", [], resilient_parsing=True))
        for command in (WHOLE, typer.main.get_command(needed(words)))
    ]
    assert texts[0] == texts[1]
    assert all(f"\n  {name} " in texts[1] for name in (*COMMANDS, *GROUPS))


@pytest.mark.parametrize("name", [*COMMANDS, *GROUPS])
def test_a_command_is_the_same_alone(name: str) -> None:
    alone = typer.main.get_command(needed([name, "x"]))
    if name != "help":  # which shows the others
        assert [*alone.commands] == [name]  # type: ignore[attr-defined]
    own, other = (one.commands[name] for one in (alone, WHOLE))  # type: ignore[attr-defined]
    assert (type(own), own.help) == (type(other), other.help)
    assert [one.opts for one in own.params] == [one.opts for one in other.params]


def test_an_unknown_word_is_compared_with_every_command() -> None:
    assert [*typer.main.get_command(needed(["tain"])).commands] == [*COMMANDS, *GROUPS]  # type: ignore[attr-defined]


def test_a_command_imports_no_other_one() -> None:
    code = (
        "import sys; from lorkit.cli.main import run_command_line; run_command_line(['predict', '--help']);"
        "print([name for name in sys.modules if name.startswith('lorkit.cli.verbs.')])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.splitlines()[-1] == "['lorkit.cli.verbs.predict']"


def test_the_program_tells_its_version_without_the_command_line() -> None:
    code = (
        "import atexit, sys; from lorkit.__main__ import main; sys.argv[1:] = ['--version'];"
        "atexit.register(lambda: print([name for name in ('lorkit.cli', 'json') if name in sys.modules]));"
        "main()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.splitlines() == [f"decompose (lorkit) {__version__}", "[]"]


def test_the_version_needs_no_parser() -> None:
    code = (
        "import sys; from lorkit.cli.main import run_command_line; run_command_line(['--version']);"
        "print([name for name in ('typer', 'pydantic', 'rich', 'yaml') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
