"""The reference lists the verbs of the app."""

from __future__ import annotations

from lorkit.cli import main
from lorkit.cli.reference import verbs

VERBS = [verb.__name__ for verb in main.VERBS]


def test_verbs_are_those_of_the_app() -> None:
    import typer.main

    names = [path.removeprefix("decompose ") for path, _ in verbs(typer.main.get_command(main.app))]
    assert names == [*VERBS, "profiles list", "profiles show", "profiles detect"]
