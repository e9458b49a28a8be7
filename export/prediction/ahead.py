"""Read and prepare images in threads, ahead of the network that takes them."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from lorkit.decompose.machine import usable_threads

Prepared = TypeVar("Prepared")
CHUNKS_AHEAD = 2
"""Chunks that wait for the network at most, beside the one that it has."""
MOST_THREADS = 8
"""More do not help: what Python does for an image runs in one thread at a time."""


def prepared_ahead(
    prepare: Callable[[Path], Prepared], paths: Sequence[Path], size: int, *, threads: int | None = None
) -> Iterator[list[Prepared]]:
    """Yield the prepared images in chunks, in order, while the next ones are prepared.

    Args:
        prepare: Reads and prepares one file.
        paths: The files.
        size: Images in a chunk. Chunks of one, such as volumes, are prepared when they are asked for, because two do
            not have to fit into memory.
        threads: Threads; by default one for each CPU that the process may use, at most `MOST_THREADS`.

    Raises:
        Exception: What `prepare` raises, for the first file in order that it refuses.
    """
    threads = min(usable_threads(), MOST_THREADS) if threads is None else threads
    starts = range(0, len(paths), size)
    if size == 1 or len(paths) == 1:
        yield from ([prepare(path) for path in paths[start : start + size]] for start in starts)
        return
    pool = ThreadPoolExecutor(threads, thread_name_prefix="prepare")
    waiting: deque[list[Future[Prepared]]] = deque()
    try:
        for start in starts:
            waiting.append([pool.submit(prepare, path) for path in paths[start : start + size]])
            if len(waiting) > CHUNKS_AHEAD:
                yield [one.result() for one in waiting.popleft()]
        while waiting:
            yield [one.result() for one in waiting.popleft()]
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
