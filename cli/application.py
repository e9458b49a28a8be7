"""The program, of all its commands or of the one that a call needs: a command takes time to import and to build."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Annotated

import typer

from lorkit import __version__
from lorkit.cli.commands import Command
from lorkit.cli.output.streams import print_result

COMMANDS: Mapping[str, str] = {
    "init": "Write a commented decompose.yaml.",
    "data": "Inspect the data before training on it.",
    "pretrain": "Train a foundation model on all regions.",
    "train": "Decompose a foundation model into one expert per region.",
    "evaluate": "Measure accuracy and calibration, with intervals.",
    "compare": "Compare methods on the same data and split.",
    "extract": "Extract experts of a run as plain networks, or one network of all regions.",
    "export": "Export the extracted experts to an engine, or a network that lorkit did not train.",
    "verify": "Compare exports with the networks they came from.",
    "bench": "Measure latency, throughput and memory of exports.",
    "gate": "Judge the experts against the foundation model by latency, accuracy, bytes and MACs.",
    "report": "Write the report of a run.",
    "predict": "Label or segment images with an expert, or with a router, which finds the region of each image.",
    "pack": "Write one archive of a run, to keep or to send.",
    "clean": "List what no finished artifact needs, and with `--yes` remove it.",
    "inspect": "Show how lorkit reads images, and whether artifacts are intact.",
    "doctor": "Check this machine, with a self-test.",
    "schema": "Print the JSON Schema of a document.",
    "help": "Show the help of a command, or write man pages.",
}
"""Each is the function of its name in the module of its name in `cli.verbs`, whose first sentence stands here too.

The list of commands then needs none of these modules, which take as long as the rest of it.
"""
GROUPS: Mapping[str, str] = {"profiles": "List, show and detect hardware profiles."}
"""Groups of commands, likewise."""


def program(*names: str, brief: bool = False) -> typer.Typer:
    """Return the program.

    Args:
        names: The commands and groups that it has; all by default.
        brief: All of them, but only what the list of commands says of each; they take no option.
    """
    # Plain help: rich panels take start-up time and break in pipes.
    app = typer.Typer(
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback(invoke_without_command=True)(callback)
    if brief:
        for name, text in (*COMMANDS.items(), *GROUPS.items()):
            app.command(name, help=text)(_no_options)
        return app
    for name in names or (*COMMANDS, *GROUPS):
        module = importlib.import_module(f"lorkit.cli.verbs.{name}")
        found = getattr(module, name)
        if name in GROUPS:
            app.add_typer(found, name=name)
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


def _no_options() -> None:
    """Stand for a command in the list of them."""
