"""Read and prepare images in threads, ahead of the network that takes them."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from lorkit.decompose.machine import usable_threads

if TYPE_CHECKING:
    from concurrent.futures import Future

Prepared = TypeVar("Prepared")
CHUNKS_AHEAD = 2
"""Chunks that wait for the network at most, beside the one that it has."""
PIECES = 2
"""Parts of a chunk for each thread: images of one part cost less together."""
MOST_THREADS = 8
"""More do not help: what Python does for an image runs in one thread at a time."""


def prepared_ahead(
    prepare: Callable[[Sequence[Path]], list[Prepared]], paths: Sequence[Path], size: int, *, threads: int | None = None
) -> Iterator[list[Prepared]]:
    """Yield the prepared images in chunks, in order, while the next ones are prepared.

    Args:
        prepare: Reads and prepares some files, in order.
        paths: The files.
        size: Images in a chunk. Chunks of one, such as volumes, are prepared when they are asked for, because two do
            not have to fit into memory.
        threads: Threads; by default one for each CPU that the process may use but that of the network, at most
            `MOST_THREADS`.

    Raises:
        Exception: What `prepare` raises, for the first file in order that it refuses.
    """
    # one more would take the interpreter from the thread of the network: 780 us per small picture instead of 660
    threads = min(max(1, usable_threads() - 1), MOST_THREADS) if threads is None else threads
    starts = range(0, len(paths), size)
    if size == 1 or len(paths) == 1:
        yield from (prepare(paths[start : start + size]) for start in starts)
        return
    from concurrent.futures import ThreadPoolExecutor  # here: one picture needs no thread

    pool = ThreadPoolExecutor(threads, thread_name_prefix="prepare")
    waiting: deque[list[tuple[Sequence[Path], Future[list[Prepared]]]]] = deque()
    length = max(1, size // (PIECES * (threads + 1)))
    try:
        for start in starts:
            chunk = paths[start : start + size]
            pieces = [chunk[first : first + length] for first in range(0, len(chunk), length)]
            waiting.append([(piece, pool.submit(prepare, piece)) for piece in pieces])
            if len(waiting) > CHUNKS_AHEAD:
                yield _joined(prepare, waiting.popleft())
        while waiting:
            yield _joined(prepare, waiting.popleft())
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _joined(
    prepare: Callable[[Sequence[Path]], list[Prepared]], pieces: list[tuple[Sequence[Path], Future[list[Prepared]]]]
) -> list[Prepared]:
    """Return the images of a chunk; where the threads are behind, the caller prepares from its end."""
    own: dict[int, list[Prepared]] = {}
    for index in reversed(range(len(pieces))):
        piece, future = pieces[index]
        if future.cancel():
            try:
                own[index] = prepare(piece)
            except Exception:  # of an earlier file first, if there is one; else this again
                break
    return [
        image
        for index, (piece, future) in enumerate(pieces)
        for image in (own[index] if index in own else prepare(piece) if future.cancelled() else future.result())
    ]
