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
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

_PARENT = "LORKIT_PARENT"
_SAFE_PATH = "PYTHONSAFEPATH"
_PR_SET_PDEATHSIG = 1  # of <linux/prctl.h>
_WATCH_S = 1.0
_ORPHANED = 6


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
