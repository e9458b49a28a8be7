"""Child processes: the only place that starts them.

Their modules come from the installation, never from the current directory or from the directory of an export, whose
files others may have written (Python's `-P`). They end with their parent, also where that is killed.
"""

from __future__ import annotations

import ctypes
import os
import runpy
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import IO, Any

_PARENT = "LORKIT_PARENT"
_SAFE_PATH = "PYTHONSAFEPATH"
_PR_SET_PDEATHSIG = 1  # of <linux/prctl.h>
_WATCH_S = 1.0
_ORPHANED = 6
_HOLDER = """
import os, sys
groups = set()
for line in sys.stdin:
    (groups.add if line[0] == "+" else groups.discard)(int(line[1:]))
for group in groups:
    try:
        os.killpg(group, 9)
    except OSError:
        pass
"""


@dataclass(frozen=True)
class Finished:
    """A child that ended.

    Args:
        status: Its exit status; below 0 the signal that ended it.
        stdout: What it wrote.
        stderr: What it wrote there.
    """

    status: int
    stdout: str
    stderr: str


def module_command(module: str) -> tuple[str, ...]:
    """Return the command that runs a module of lorkit; the current directory is not among its places of modules.

    It starts with this file, so that the child ends with its parent before it imports anything large.
    """
    return (sys.executable, "-P", __file__, module)


def run_child(command: Sequence[str], *, timeout: float) -> Finished:
    """Run a command without a shell and wait for it.

    A child in Python calls `end_with_parent` first; that of `module_command` does. One that does not, such as a tool of
    a driver, lives for `timeout` seconds at most while this process does, and needs a small one.

    Raises:
        TimeoutError: It did not end in time, and was ended.
        OSError: It could not be started.
    """
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=timeout,
            check=False,
            env=_environment(),
        )
    except subprocess.TimeoutExpired:
        raise TimeoutError(f"{command[0]} did not end within {timeout:g} s") from None
    return Finished(done.returncode, done.stdout, done.stderr)


class WaitingChild:
    """A command that prepares itself, says so by a line, and goes on when it is told to; see `waiting_child`."""

    def __init__(self, command: Sequence[str], errors: IO[str], timeout: float) -> None:
        self._name, self._errors, self._timeout, self._expired = command[0], errors, timeout, False
        pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": errors}
        self._process = subprocess.Popen(command, **pipes, text=True, errors="replace", env=_environment())
        self._timer = threading.Timer(timeout, self._expire)
        self._timer.daemon = True
        self._timer.start()

    def prepared(self) -> None:
        """Wait until it is prepared, or has ended."""
        assert self._process.stdout is not None
        self._process.stdout.readline()
        self._timer.cancel()

    def finish(self) -> Finished:
        """Let it go on, and wait for its end.

        Raises:
            TimeoutError: It did not prepare itself or end in time, and was ended.
        """
        try:
            if self._expired:
                raise TimeoutError
            stdout, _ = self._process.communicate("\n", timeout=self._timeout)
        except (TimeoutError, subprocess.TimeoutExpired):
            raise TimeoutError(f"{self._name} did not end within {self._timeout:g} s") from None
        self._errors.seek(0)
        return Finished(self._process.returncode, stdout, self._errors.read())

    def end(self) -> None:
        """End it if it runs, and release its pipes."""
        self._timer.cancel()
        self._process.kill()
        for pipe in (self._process.stdin, self._process.stdout):
            assert pipe is not None
            with suppress(OSError):  # it ended with something unread
                pipe.close()
        self._process.wait()

    def _expire(self) -> None:
        self._expired = True
        self._process.kill()


@contextmanager
def waiting_child(command: Sequence[str], *, timeout: float) -> Iterator[WaitingChild]:
    """Start a command that calls `wait_for_turn`; it is ended with the block.

    So several commands import their libraries side by side, and are then measured one by one.

    Args:
        command: A command in Python, as for `run_child`.
        timeout: Seconds for its preparation, and again for the rest.

    Raises:
        OSError: It could not be started.
    """
    # a pipe that is full would hold it up
    with tempfile.TemporaryFile("w+", errors="replace") as errors:
        child = WaitingChild(command, errors, timeout)
        try:
            yield child
        finally:
            child.end()


def wait_for_turn() -> None:
    """Say that this process is prepared, and wait for the word of the one that started it by `waiting_child`."""
    sys.stdout.write("\n")
    sys.stdout.flush()
    sys.stdin.readline()


def end_with_parent() -> None:
    """End this process when the one that started it ends; nothing unless `run_child` or `marked_children` did.

    Linux's kernel sends SIGKILL, which no library can hold up. Elsewhere a thread looks for the parent.
    """
    parent = os.environ.pop(_PARENT, "")
    if not parent.isdigit():
        return
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)
        _end_orphan(int(parent))  # it may have ended before
    else:
        threading.Thread(target=_watch, args=(int(parent),), daemon=True).start()


@contextmanager
def marked_children() -> Iterator[None]:
    """Have the processes that a library starts within the block know their parent, and find modules as `run_child`'s.

    For processes that run this program's command again. A user's own script keeps its places of modules.
    """
    keep = {name: os.environ.get(name) for name in (_PARENT, _SAFE_PATH)}
    os.environ[_PARENT] = str(os.getpid())
    spec = getattr(sys.modules["__main__"], "__spec__", None)
    if spec is not None and spec.name.split(".")[0] == "lorkit":
        os.environ[_SAFE_PATH] = "1"
    try:
        yield
    finally:
        for name, value in keep.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


@contextmanager
def held_children() -> Iterator[None]:
    """Have the commands that a library starts within the block, and what these start, end with this process.

    For compilers, which start further programs and know nothing of their parent. Each gets its own process group, and a
    small process, which sees the end of this one by a pipe, kills the groups that are left. So a compiler also ends
    where this process is killed, and at an interruption.
    """
    if os.name == "nt":  # has no process groups
        yield
        return
    command = [sys.executable, "-I", "-S", "-c", _HOLDER]
    popen = subprocess.Popen
    # in its own session, so that a signal to this group leaves it alive
    with popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True, start_new_session=True) as holder:

        def tell(word: str) -> None:
            assert holder.stdin is not None
            with suppress(OSError, ValueError):  # it was killed, or the block has ended
                holder.stdin.write(f"{word}\n")
                holder.stdin.flush()

        class Held(popen):  # type: ignore[misc, valid-type]
            """A command whose process group is known to the holder until it ends."""

            def __init__(self, *args: Any, **options: Any) -> None:
                own = options.get("start_new_session") or options.get("process_group") is not None
                super().__init__(*args, **(options if own else {**options, "process_group": 0}))
                tell(f"+{self.pid}")

            def wait(self, timeout: float | None = None) -> int:
                """Wait for the end, after which the number may be of another process."""
                status: int = super().wait(timeout)
                tell(f"-{self.pid}")
                return status

            def kill(self) -> None:
                """End it with what it started, as `subprocess.run` does at an interruption."""
                with suppress(OSError):
                    os.killpg(self.pid, signal.SIGKILL)
                super().kill()

        subprocess.Popen = Held  # type: ignore[misc]
        try:
            yield
        finally:
            subprocess.Popen = popen  # type: ignore[misc]


def _environment() -> dict[str, str]:
    return {**os.environ, _PARENT: str(os.getpid())}


def _end_orphan(parent: int) -> None:
    if os.getppid() != parent:
        os._exit(_ORPHANED)


def _watch(parent: int) -> None:
    while True:
        _end_orphan(parent)
        time.sleep(_WATCH_S)


if __name__ == "__main__":
    end_with_parent()
    runpy.run_module(sys.argv.pop(1), run_name="__main__", alter_sys=True)
