"""The `decompose` program: its commands, and the one place that converts errors to a line and an exit code."""

from __future__ import annotations

import os
import sys
import threading
import traceback
import warnings
from collections.abc import Sequence
from contextlib import nullcontext
from typing import Annotated, NoReturn

import typer

from lorkit import __version__
from lorkit.cli import errors
from lorkit.cli.commands import Command
from lorkit.cli.ending import report as report_failure
from lorkit.cli.ending import watch_signals
from lorkit.cli.output import streams
from lorkit.cli.output.streams import print_error, print_result, results_only
from lorkit.cli.verbs.bench import bench
from lorkit.cli.verbs.clean import clean
from lorkit.cli.verbs.compare import compare
from lorkit.cli.verbs.data import data
from lorkit.cli.verbs.doctor import doctor
from lorkit.cli.verbs.evaluate import evaluate
from lorkit.cli.verbs.export import TargetsHelp, export
from lorkit.cli.verbs.extract import extract
from lorkit.cli.verbs.gate import gate
from lorkit.cli.verbs.help import help
from lorkit.cli.verbs.init import init
from lorkit.cli.verbs.inspect import inspect
from lorkit.cli.verbs.pack import pack
from lorkit.cli.verbs.predict import predict
from lorkit.cli.verbs.pretrain import pretrain
from lorkit.cli.verbs.profiles import profiles
from lorkit.cli.verbs.report import report
from lorkit.cli.verbs.schema import schema
from lorkit.cli.verbs.train import train
from lorkit.cli.verbs.verify import verify

COMMANDS = (
    init, data, pretrain, train, evaluate, compare, extract, export, verify, bench, gate, report, predict, pack,
    clean, inspect, doctor, schema, help,
)  # fmt: skip

# Plain help: rich panels take start-up time and break in pipes.
app = typer.Typer(
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for _command in COMMANDS:
    app.command(_command.__name__, cls=TargetsHelp if _command is export else Command)(_command)
app.add_typer(profiles, name="profiles")


@app.callback(invoke_without_command=True)
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
        _print_version()
    elif context.invoked_subcommand is None:
        print_result(context.get_help())


def run_command_line(arguments: Sequence[str]) -> int:
    """Run the words after `decompose` and return the exit code; no error is raised, not even one of reporting."""
    try:
        return _run(arguments)
    except KeyboardInterrupt:
        return errors.INTERRUPTED
    except BaseException as error:  # while it reported another one
        print_error(
            f"error: internal error: {type(error).__name__}; this is a bug; run again with --debug and report it"
        )
        return errors.INTERNAL


def _run(arguments: Sequence[str]) -> int:
    words = [word for word in arguments if word != "--debug"]
    debug = len(words) < len(arguments)
    _quiet_libraries(debug)
    with nullcontext() if _for_shell(words) else results_only(document="--json" in words):
        try:
            errors.require_text(words)
            code = _execute(words)
            failure = errors.interrupted() if code == errors.INTERRUPTED else None
        except BaseException as error:  # also SystemExit, which no command raises: 1 would be a verdict
            if debug:
                traceback.print_exc()
            failure = errors.describe_error(error)
        code = code if failure is None and isinstance(code, int) else 0
        if failure is None and code == 0 and (lost := streams.lost_result()) is not None:
            failure = errors.describe_lost_result(lost)
        if failure is None:
            return code
        report_failure(failure, document="--json" in words)
        return failure.exit_code


def _execute(words: Sequence[str]) -> object:
    if list(words) == ["--version"]:  # the parser imports pydantic to convert a value, twice the time of --help
        _print_version()
        return 0
    return app(args=words, prog_name="decompose", standalone_mode=False)


def _print_version() -> None:
    print_result(f"decompose (lorkit) {__version__}")


def _for_shell(words: Sequence[str]) -> bool:
    """Return whether the parser itself prints the result: help, and what completes words in a shell."""
    asked = ("-h", "--help", "--show-completion", "--install-completion")
    return "_DECOMPOSE_COMPLETE" in os.environ or any(word.split("=")[0] in asked for word in words)


def main() -> NoReturn:
    """Run the command line of this process."""
    # How long an OpenMP thread spins before it sleeps: libgomp's own 300,000 turns compete for busy cores (training was
    # five times slower beside two busy processes), none at all cost half the speed on an idle machine.
    os.environ.setdefault("GOMP_SPINCOUNT", "10000")
    streams.open_closed_streams()
    streams.survive_failures()
    if "--debug" not in sys.argv:
        threading.excepthook = _skip_tensorboard
    watch_signals(document="--json" in sys.argv)
    sys.exit(run_command_line(sys.argv[1:]))


def _skip_tensorboard(failure: threading.ExceptHookArgs) -> None:
    """Print the error that ends a thread, except TensorBoard's writer, whose error training raises too."""
    if not type(failure.thread).__module__.startswith("tensorboard."):
        threading.__excepthook__(failure)


def _quiet_libraries(debug: bool) -> None:
    """Show the warnings of libraries only with `--debug`; documents have those for users."""
    if not debug and not sys.warnoptions:
        warnings.simplefilter("ignore")
