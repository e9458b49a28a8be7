"""The file operations of an action, one by one: at each of them its process can be killed, or the disk be full.

An action runs in a forked child of this process, which has imported everything once. What Python does to files is seen:
files opened to write (`open` makes one, `reopen` finds one), writes, renames, removals, directories and links. Native
code that writes files is not seen.
"""

from __future__ import annotations

import builtins
import errno
import io
import json
import os
import signal
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Literal, NamedTuple

How = Literal["kill", "full"]
NEEDS_SPACE = ("open", "write", "mkdir", "link")
_FAILED = 99
_REPORT: list[Callable[[str, str, str], bool]] = []


class Operation(NamedTuple):
    """What is done to which file."""

    kind: str
    path: str


@dataclass(frozen=True)
class Attempt:
    """What came of an action.

    Attributes:
        code: What the action returned; minus the signal that ended it.
        operations: What it did to files, in order; the last one is where it was killed.
        output: What it printed.
        error: The traceback of an exception, if one ended it.
    """

    code: int
    operations: list[Operation]
    output: str
    error: str

    @property
    def killed(self) -> bool:
        """Whether it was killed at the operation that was asked for; otherwise it ended by itself."""
        return self.code == -signal.SIGKILL


def attempt(
    action: Callable[[], int | None], *, under: Path, at: int | None = None, how: How = "kill", limit_s: int = 60
) -> Attempt:
    """Run an action in a forked child.

    Args:
        action: Returns an exit code; None is 0.
        under: Directory whose files count.
        at: Number of the operation, from 0, at which the child is killed or the disk becomes full. None is never.
        how: `kill` comes before the operation, and in the middle of a write; `full` also fails all later operations
            that need space.
        limit_s: A child that takes longer is ended by SIGALRM.
    """
    with tempfile.TemporaryFile() as printed:
        reading, writing = os.pipe()
        process = os.fork()
        if not process:
            os.close(reading)
            os._exit(_child(action, os.path.realpath(under), at, how, limit_s, writing, printed.fileno()))
        os.close(writing)
        with os.fdopen(reading, encoding="utf-8") as stream:
            lines = [json.loads(line) for line in stream if line.endswith("\n")]
        _, status = os.waitpid(process, 0)
        printed.seek(0)
        output = printed.read().decode(errors="replace")
    errors = [line[1] for line in lines if line[0] == "error"]
    found = [Operation(*line) for line in lines if line[0] != "error"]
    return Attempt(os.waitstatus_to_exitcode(status), found, output, errors[0] if errors else "")


def every_attempt(
    action: Callable[[], int | None],
    prepare: Callable[[], Path],
    *,
    how: How = "kill",
    limit_s: int = 60,
    step: int = 1,
) -> Iterator[tuple[Operation, Attempt]]:
    """Run an action once for each of its operations; yield where it was stopped and what came of it.

    Args:
        action: Runs in a forked child.
        prepare: Restores the state before the action, and returns the directory whose files count.
        how: As for `attempt`.
        limit_s: As for `attempt`.
        step: Take every so manieth operation only.
    """
    whole = attempt(action, under=prepare(), limit_s=limit_s)
    if whole.error or whole.code < 0:
        raise AssertionError(f"the action does not run undisturbed: {whole.code} {whole.error}{whole.output[-300:]}")
    for number, operation in enumerate(whole.operations):
        if number % step == 0 and (how == "kill" or operation.kind in NEEDS_SPACE):
            yield operation, attempt(action, under=prepare(), at=number, how=how, limit_s=limit_s)


def _child(
    action: Callable[[], int | None], under: str, at: int | None, how: How, limit_s: int, report: int, printed: int
) -> int:
    try:
        os.dup2(printed, 1)
        os.dup2(printed, 2)
        sys.stdout, sys.stderr = (os.fdopen(one, "w", encoding="utf-8", closefd=False) for one in (1, 2))
        signal.alarm(limit_s)
        _watch(under, at, how, report)
        code = action() or 0
    except BaseException:
        _REPORT.clear()
        os.write(report, (json.dumps(["error", traceback.format_exc()]) + "\n").encode())
        code = _FAILED
    finally:
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
    return code


def _watch(under: str, at: int | None, how: How, report: int) -> None:
    """Report every operation below a directory from now on, and stop this process at one of them."""
    count, write, full = 0, os.write, False

    def seen(kind: str, path: str, half: str = "") -> bool:
        """Return whether the operation fails for lack of space; does not return from a kill."""
        nonlocal count, full
        if not (path == under or path.startswith(f"{under}{os.sep}")):
            return False
        number, count = count, count + 1
        write(report, (json.dumps([kind, os.path.relpath(path, under)]) + "\n").encode())
        if number == at and how == "kill":
            if half:
                return True
            os.kill(os.getpid(), signal.SIGKILL)
        full = full or (number == at and how == "full")
        return full and kind in NEEDS_SPACE

    _REPORT.append(seen)
    sys.addaudithook(_audit)
    _patch_writes(how)


def _audit(event: str, arguments: tuple[Any, ...]) -> None:
    if not _REPORT:
        return
    if event == "open":
        path, _, flags = arguments
        if isinstance(path, int) or not int(flags or 0) & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
            return
        path = _place(path)
        kind = "open" if not os.path.lexists(path) else "reopen"
    elif event in ("os.remove", "os.rmdir"):
        kind, path = event[3:], _place(arguments[0], arguments[1])
    elif event == "os.mkdir":
        kind, path = "mkdir", _place(arguments[0], arguments[2])
        if os.path.lexists(path):  # the call will fail, as it should
            return
    elif event in ("os.rename", "os.link"):
        kind, path = event[3:], _place(arguments[1], arguments[3])
    else:
        return
    if _REPORT[0](kind, path, ""):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), path)


def _place(path: Any, directory: int = -1) -> str:
    """Return the whole path of a file, its parent's links resolved; `directory` is the descriptor it is relative to."""
    if isinstance(path, int):
        return os.path.realpath(f"/proc/self/fd/{path}")
    start = os.getcwd() if directory in (-1, None) else os.path.realpath(f"/proc/self/fd/{directory}")
    whole = os.path.join(start, os.fsdecode(path))
    return os.path.join(os.path.realpath(os.path.dirname(whole)), os.path.basename(whole))


def _patch_writes(how: How) -> None:
    original, write = io.open, os.write

    def stopped(path: str, half: Callable[[], object]) -> None:
        if _REPORT and _REPORT[0]("write", path, "half"):
            half()
            if how == "kill":
                os.kill(os.getpid(), signal.SIGKILL)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))  # the kernel names no file either

    class Counted(io.BufferedWriter):
        def write(self, data: Any, /) -> int:
            def half() -> None:
                io.BufferedWriter.write(self, memoryview(data).cast("B")[: len(memoryview(data).cast("B")) // 2])
                self.flush()

            stopped(_place(self.raw.fileno()), half)
            return super().write(data)

    def opened(*arguments: Any, **options: Any) -> IO[Any]:
        stream = original(*arguments, **options)
        if type(stream) is io.BufferedWriter:
            return Counted(stream.detach())
        if type(stream) is io.TextIOWrapper and type(stream.buffer) is io.BufferedWriter:
            encoding, errors, newline = stream.encoding, stream.errors, options.get("newline")
            return io.TextIOWrapper(Counted(stream.detach().detach()), encoding, errors, newline)
        return stream

    def written(descriptor: int, data: Any, /) -> int:
        stopped(_place(descriptor), lambda: write(descriptor, bytes(data)[: len(data) // 2]))
        return write(descriptor, data)

    io.open = builtins.open = opened  # type: ignore[assignment]
    os.write = written
