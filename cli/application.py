"""The program, of all its commands or of the one that a call needs: a command takes time to import and to build."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Annotated, Any

import typer

from lorkit import __version__
from lorkit.cli.commands import Command
from lorkit.cli.output.streams import print_result

COMMANDS = (
    "init", "data", "pretrain", "train", "evaluate", "compare", "extract", "export", "verify", "bench", "gate",
    "report", "predict", "pack", "clean", "inspect", "doctor", "schema", "help",
)  # fmt: skip
"""Each is the function of its name in the module of its name in `cli.verbs`."""
GROUPS = ("profiles",)
"""Groups of commands, likewise."""


def program(*names: str, brief: bool = False) -> typer.Typer:
    """Return the program.

    Args:
        names: The commands and groups that it has; all by default.
        brief: Only what the list of commands says of each; they take no option.
    """
    # Plain help: rich panels take start-up time and break in pipes.
    app = typer.Typer(
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback(invoke_without_command=True)(callback)
    for name in names or (*COMMANDS, *GROUPS):
        module = importlib.import_module(f"lorkit.cli.verbs.{name}")
        found = getattr(module, name)
        if name in GROUPS:
            app.add_typer(found, name=name)
        elif brief:
            app.command(name)(_without_options(found))
        else:
            app.command(name, cls=getattr(module, "COMMAND", Command))(found)
    return app


def needed(words: list[str]) -> typer.Typer:
    """Return the program with what the words after `decompose` need of it."""
    if words in ([], ["-h"], ["--help"]):
        return program(brief=True)
    if words[0] in (*COMMANDS, *GROUPS) and words[0] != "help":  # which shows any of them
        return program(words[0])
    return program()


def callback(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
    debug: Annotated[
        bool, typer.Option("--debug", help="Show tracebacks. Allowed before or after the command.")
    ] = False,
) -> None:
    """Decompose a medical foundation model into small experts, export them, and measure their cost and accuracy.

    To start, in an empty directory: train, extract --region chest, export --target onnx, gate, report.
    """
    if version:
        print_result(f"decompose (lorkit) {__version__}")
    elif context.invoked_subcommand is None:
        print_result(context.get_help())


def _without_options(command: Callable[..., Any]) -> Callable[[], None]:
    def listed() -> None:
        pass

    listed.__doc__ = command.__doc__
    return listed
