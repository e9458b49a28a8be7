"""The commands of the app, those of groups too, and what all of them refuse."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import typer.main

from lorkit.cli import application, main
from lorkit.cli.commands import list_commands

COMMANDS = [*application.COMMANDS]
PATHS = {path.removeprefix("decompose "): one for path, one in list_commands(typer.main.get_command(main.app))}
VALUES = {
    path: [option for option in command.params if option.opts[0].startswith("--") and not option.is_flag]
    for path, command in PATHS.items()
}
SINGLE = [(path, option.opts[0]) for path, found in VALUES.items() for option in found if not option.multiple]
REPEATED = [(path, option.opts[0]) for path, found in VALUES.items() for option in found if option.multiple]


def test_verbs_are_those_of_the_app() -> None:
    assert [*PATHS] == [*COMMANDS, "profiles list", "profiles show", "profiles detect"]


@pytest.mark.parametrize("path", sorted({path for path, _ in SINGLE}))
def test_an_option_of_one_value_is_given_once(decompose: Callable[..., Any], path: str) -> None:
    for name in (name for one, name in SINGLE if one == path):
        for twice in ((name, "1", name, "2"), (f"{name}=1", name, "2"), (f"{name}=1", f"{name}=1")):
            outcome = decompose(*path.split(), *twice)
            assert outcome.code == 2, (twice, outcome)
            assert f"{name} is given 2 times; required: one value" in outcome.stderr


def test_options_of_several_values_and_words_after_two_dashes_are_not_counted(decompose: Callable[..., Any]) -> None:
    assert ("train", "--set") in REPEATED
    assert "given 2 times" not in decompose("train", "--set", "a=1", "--set", "b=2").stderr
    assert "given 2 times" not in decompose("inspect", "--json", "--json", "--", "--out", "--out").stderr
    assert "given 2 times" not in decompose("predict", "--region", "a", "--", "--region", "x").stderr
