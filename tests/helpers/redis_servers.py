"""A Redis server of a test: on a free port of this machine, in a directory of its own, stopped at the end."""

from __future__ import annotations

import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path
from typing import Any, Self

import pytest


class RedisServer:
    """A server that is started with the block and ends with it.

    Args:
        folder: For its files.
        settings: Of redis-server, by name; by default it appends each write to its file, syncs that each second, and
            looks once a second, not ten times, whether there is anything to do: it waits for most of a session.
    """

    def __init__(self, folder: Path, **settings: str) -> None:
        pytest.importorskip("redis", reason="the package redis is not installed")
        found = shutil.which("redis-server")
        if found is None:
            pytest.skip("redis-server is not installed")
        defaults = {"appendonly": "yes", "save": "", "bind": "127.0.0.1", "dir": str(folder), "hz": "1"}
        self._command, self._settings = found, {**defaults, **settings}
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.kill(signal.SIGTERM)

    def start(self) -> None:
        """Start it, and wait until it answers."""
        words = [word for name, value in self._settings.items() for word in (f"--{name}", value)]
        self._process = subprocess.Popen(
            [self._command, "--port", str(self.port), *words], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        deadline = time.monotonic() + 30
        while not self._answers():
            assert self._process.poll() is None, "redis-server does not start"
            assert time.monotonic() < deadline, "redis-server does not answer"
            time.sleep(0.01)

    def kill(self, sign: signal.Signals = signal.SIGKILL) -> None:
        """End it, by default in the middle of what it does."""
        self._process.send_signal(sign)
        self._process.wait(timeout=30)

    def url(self, database: int = 0, secret: str = "") -> str:
        """Return the URL of a database."""
        return f"redis://{secret}127.0.0.1:{self.port}/{database}"

    def client(self, database: int = 0, **settings: Any) -> Any:
        """Return a client of the package redis, which the test closes."""
        import redis

        return redis.Redis(port=self.port, db=database, **settings)

    def _answers(self) -> bool:
        """Return whether it has read its files, also if it wants a password."""
        with socket.socket() as one:
            one.settimeout(5)
            try:
                one.connect(("127.0.0.1", self.port))
                one.sendall(b"PING\r\n")
                return one.recv(99).startswith((b"+PONG", b"-NOAUTH"))
            except OSError:
                return False
