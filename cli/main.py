"""The `decompose` program: its commands, and the one place that converts errors to a line and an exit code."""

from __future__ import annotations

import gc
import os
import sys
import threading
import traceback
import warnings
from collections.abc import Sequence
from contextlib import nullcontext
from typing import Any, NoReturn

from lorkit.cli import errors
from lorkit.cli.ending import report as report_failure
from lorkit.cli.ending import watch_signals
from lorkit.cli.output import streams
from lorkit.cli.output.streams import print_error, print_result, results_only


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
    if list(words) == ["--version"]:  # without the parser
        from lorkit import __version__

        print_result(f"decompose (lorkit) {__version__}")
        return 0
    try:
        from lorkit.cli.application import needed, program

        # a shell that completes words has them in its environment
        app = program() if "_DECOMPOSE_COMPLETE" in os.environ else needed(list(words))
    except Exception as error:  # as in `lorkit.__main__`
        print_error(f"error: lorkit cannot be imported ({error}); required: an intact install; reinstall it")
        return errors.INTERNAL
    return app(args=words, prog_name="decompose", standalone_mode=False)


def _for_shell(words: Sequence[str]) -> bool:
    """Return whether the parser itself prints the result: help, and what completes words in a shell."""
    asked = ("-h", "--help", "--show-completion", "--install-completion")
    return "_DECOMPOSE_COMPLETE" in os.environ or any(word.split("=")[0] in asked for word in words)


def main() -> NoReturn:
    """Run the command line of this process."""
    # How long an OpenMP thread spins before it sleeps: libgomp's own 300,000 turns compete for busy cores (training was
    # five times slower beside two busy processes), none at all cost half the speed on an idle machine.
    os.environ.setdefault("GOMP_SPINCOUNT", "10000")
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")  # it would read what every installed package declares
    # Until the work begins: imports leave nothing to collect, and to look for it takes a tenth of the time of a start.
    gc.disable()
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


def __getattr__(name: str) -> Any:
    """Return `app`, the program with all of its commands."""
    if name != "app":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from lorkit.cli.application import program

    return program()
