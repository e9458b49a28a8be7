"""Convert every error that ends a command to one line and an exit code (docs/errors.md lists them)."""

from __future__ import annotations

import difflib
import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

from lorkit.decompose.errors import LorkitError, UsageError

_AGAIN = "run it again (a training continues with `decompose train --resume`)"
USAGE, DATA, STORAGE, INTERNAL, INTERRUPTED = 2, 4, 6, 70, 130


@dataclass(frozen=True)
class Failure:
    """An error for the user: one line, and the exit code of the process."""

    message: str
    exit_code: int


def describe_error(error: BaseException) -> Failure:
    """Return the line and the exit code of an error.

    Errors of lorkit say what to do; wrong options come from the parser. A document never states NaN or infinity, so a
    result that has them is one line too. For all others (disk, interrupt, defects) the line suggests `--debug`.
    """
    if isinstance(error, KeyboardInterrupt):  # without an import, which takes a while
        return interrupted()
    from lorkit.profiles import ProfileError

    if isinstance(error, LorkitError | ProfileError):
        return Failure(_one_line(str(error)), error.exit_code)
    if isinstance(error, SystemExit):
        error = _reason_of_exit(error)
    if hasattr(error, "format_message"):  # errors of the parser, whose base class differs between typer versions
        return Failure(_usage(error), USAGE)
    if isinstance(error, OSError):
        where = f" ({error.filename})" if error.filename else ""
        given = f"{error.strerror or error}{where}"
        return Failure(f"{given}; required: a file system that can be read and written; free or unlock it", STORAGE)
    if (key := _not_finite(error)) is not None:
        fix = "look for NaN and infinity in the weights and images"
        return Failure(f"{key} of the result is not finite; required: a finite number; {fix}", DATA)
    given = f"internal error: {type(error).__name__}: {error}"
    return Failure(f"{_one_line(given)}; this is a bug; run again with --debug and report the traceback", INTERNAL)


def _not_finite(error: BaseException) -> str | None:
    """Return the key of a document that is NaN or infinite where it must be a number; None for another error."""
    if type(error).__name__ != "ValidationError" or not hasattr(error, "errors"):
        return None
    problems = error.errors(include_url=False)
    known = bool(problems) and all(one["type"] == "finite_number" for one in problems)
    return ".".join(map(str, problems[0]["loc"])) or "a number" if known else None


def interrupted() -> Failure:
    """Return the failure of Ctrl-C; artifacts are written atomically, so none is incomplete."""
    return Failure(f"interrupted; no partial files were kept; {_AGAIN}", INTERRUPTED)


def cut_short() -> Failure:
    """Return the failure of Ctrl-C while native code ran, which kept the command from removing its drafts."""
    return Failure(f"interrupted; the next command removes what was incomplete; {_AGAIN}", INTERRUPTED)


def require_text(words: Sequence[str]) -> None:
    """Raise UsageError for a word, or a current directory, with bytes that are no UTF-8: documents name both."""
    given = {f"argument {index}": word for index, word in enumerate(words, start=1)}
    with suppress(OSError):  # a directory that is gone
        given["the current directory"] = os.getcwd()
    for what, text in given.items():
        try:
            text.encode()
        except UnicodeEncodeError:
            raise UsageError(
                f"{what} ({text!a}) has bytes that are no UTF-8", required="text in UTF-8", fix="rename it"
            ) from None


def describe_lost_result(error: OSError) -> Failure:
    """Return the failure of a command that did its work, but could not write its result to standard output."""
    given = f"the result was not written to standard output ({error.strerror or error})"
    return Failure(f"{given}; required: a stream that takes it; free the disk, or send it elsewhere", STORAGE)


def _reason_of_exit(error: SystemExit) -> BaseException:
    """Return why a library ended the process: typer does so when a reader of its output has left."""
    reason = error.__context__
    return reason if isinstance(reason, OSError) else RuntimeError(f"a library ended the process with {error.code!r}")


def _usage(error: BaseException) -> str:
    context = getattr(error, "ctx", None)
    help_line = f"see `{context.command_path} --help`" if context else "see `decompose --help`"
    option = getattr(error, "option_name", None)
    if type(error).__name__ == "NoSuchOption" and context is not None:
        known = sorted(name for parameter in context.command.params for name in parameter.opts if name[:2] == "--")
        near = difflib.get_close_matches(str(option), known, n=1)
        fix = f"did you mean '{near[0]}'?" if near else help_line
        return f"unknown option '{option}'; required: one of {', '.join(known)}; {fix}"
    message = _one_line(error.format_message()).rstrip(".")  # type: ignore[attr-defined]
    if message.startswith("No such command") and context is not None:
        return _unknown_command(message, context.command.commands, help_line)
    return f"{message[:1].lower()}{message[1:]}; {help_line}"


def _unknown_command(message: str, known: dict[str, object], help_line: str) -> str:
    given = message.split("'")[1]
    near = difflib.get_close_matches(given, known, n=1)
    fix = f"did you mean '{near[0]}'?" if near else help_line
    return f"unknown command '{given}'; required: one of {', '.join(known)}; {fix}"


def _one_line(text: str) -> str:
    return " ".join(text.split())
