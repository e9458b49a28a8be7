"""Processes that share a store: `python shared_streams.py FOLDER BATCH STORE...`, streams of lines in FOLDER/*.in.

For each store, one after the other, each stream is a process of its own, forked from this one, which imports everything
once. All open the store, which may be new, at the same moment. The answers to FOLDER/a.in of the first store are
written to FOLDER/a.0.out. The score of a row tells how many earlier rows its card had: log-odds of 1 are 1500 rows.
"""

from __future__ import annotations

import os
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from streams import CLASSES, node_input, open_store

from lorkit.decompose.documents.network import Decision
from lorkit.export.serving.scoring import Scorer
from lorkit.export.serving.stream import answer_lines

with suppress(ImportError):  # which a fork would import by itself, .1 s each
    import redis  # noqa: F401

NODES = node_input(scaling="none", mean=(0.0, 0.0), std=(1.0, 1.0))


def count_earlier(batch: Any) -> Any:
    """Return logits (N, 2) from the number of the rows of each card, which is log1p of it in the input."""
    earlier = np.expm1(batch[:, -1, 0, 1, -1].astype(np.float64))
    return np.stack([0 * earlier, earlier / 1000], axis=1).astype(np.float32)


def stream(store: str, lines: Path, out: Path, batch: int, start: float) -> None:
    """Answer lines from a moment on."""
    time.sleep(max(0.0, start - time.monotonic()))
    opened = open_store(store, NODES)
    scorer = Scorer(NODES, CLASSES, Decision(policy="f1", thresholds={}, temperature=1.5), count_earlier, opened)
    answers = answer_lines(scorer, lines.read_bytes().splitlines(), batch=batch)
    out.write_text("".join(f"{one}\n" for one in answers), encoding="utf-8")
    opened.close()


def share(store: str, folder: Path, batch: int, number: int) -> int:
    """Run all streams on one store, and return the number of those that failed."""
    start = time.monotonic() + 0.1
    processes = []
    for lines in sorted(folder.glob("*.in")):
        processes.append(os.fork())
        if not processes[-1]:
            code = 1
            try:
                stream(store, lines, lines.with_suffix(f".{number}.out"), batch, start)
                code = 0
            except BaseException as error:
                print(f"{type(error).__name__}: {error}", file=sys.stderr)
            finally:
                os._exit(code)
    return sum(os.waitstatus_to_exitcode(os.waitpid(one, 0)[1]) != 0 for one in processes)


if __name__ == "__main__":
    FOLDER, BATCH = Path(sys.argv[1]), int(sys.argv[2])
    sys.exit(sum(share(store, FOLDER, BATCH, number) for number, store in enumerate(sys.argv[3:])))
