"""Streams that are killed: `python killed_streams.py STORE KILLS`, the lines on stdin, all answers on stdout.

Each stream is a process of its own that is forked from this one, which imports everything once. After every kill, the
lines that got no answer are sent again, one by one or in batches; the last stream is not killed.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from contextlib import suppress

import numpy as np
from streams import open_scorer, open_store

from lorkit.export.serving.stream import answer_lines

with suppress(ImportError):  # which a fork would import by itself, .1 s each
    import redis  # noqa: F401


def stream(store: str, lines: list[bytes], batch: int, kill: tuple[int, float] | None = None) -> list[bytes]:
    """Return the answers of a process; it is killed some seconds after it gave a number of them."""
    reading, writing = os.pipe()
    process = os.fork()
    if not process:
        os.close(reading)
        # a killed process holds a Redis store for its lease
        scorer, _ = open_scorer(open_store(store, **{"lease_s": 0.02} if "://" in store else {}))
        for line in answer_lines(scorer, lines, batch=batch):
            os.write(writing, line.encode() + b"\n")
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as answers:
        told = []
        if kill is not None:
            told = [answers.readline() for _ in range(kill[0])]
            time.sleep(kill[1])
            os.kill(process, signal.SIGKILL)
        told += answers.readlines()
    _, status = os.waitpid(process, 0)
    assert os.waitstatus_to_exitcode(status) == (-signal.SIGKILL if kill else 0)
    return [line for line in told if line.endswith(b"\n")]  # a line that was cut is no answer


def main(store: str, kills: int) -> None:
    """Print the answers to all lines of stdin."""
    lines = sys.stdin.buffer.readlines()
    random = np.random.default_rng(0)
    answers: list[bytes] = []
    for left in range(kills, 0, -1):
        most = (len(lines) - len(answers)) // (left + 1)
        moment = int(random.integers(0, most)), float(random.uniform(0, 0.001))
        answers += stream(store, lines[len(answers) :], int(random.choice([1, 6])), moment)
        assert len(answers) < len(lines), "not killed within the stream"
    answers += stream(store, lines[len(answers) :], 6)
    sys.stdout.buffer.writelines(answers)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
