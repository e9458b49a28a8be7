"""Images prepared in threads: the same images in the same order, bounded in number, and the first error."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lorkit.decompose.errors import DataError
from lorkit.export.prediction.ahead import CHUNKS_AHEAD, prepared_ahead

PATHS = [Path(f"{index}.png") for index in range(100)]


@given(st.integers(0, 100), st.integers(1, 40), st.integers(1, 4))
def test_the_order_is_that_of_the_paths(count: int, size: int, threads: int) -> None:
    chunks = list(prepared_ahead(lambda paths: [path.stem for path in paths], PATHS[:count], size, threads=threads))
    assert [name for chunk in chunks for name in chunk] == [path.stem for path in PATHS[:count]]
    assert all(len(chunk) == size for chunk in chunks[:-1])


@pytest.mark.parametrize("size", [1, 4])
def test_no_more_are_prepared_than_the_chunks_ahead(size: int) -> None:
    prepared: list[Path] = []

    def prepare(paths: Sequence[Path]) -> list[Path]:
        prepared.extend(paths)
        return [*paths]

    for index, _ in enumerate(prepared_ahead(prepare, PATHS, size, threads=3)):
        ahead = 0 if size == 1 else CHUNKS_AHEAD
        assert len(prepared) <= (index + 1 + ahead) * size


def test_the_error_is_that_of_the_first_file_and_nothing_goes_on_after_it() -> None:
    def prepare(paths: Sequence[Path]) -> list[Path]:
        for path in paths:
            if int(path.stem) in (9, 5):
                raise DataError(str(path), required="a file", fix="none")
        return [*paths]

    chunks = prepared_ahead(prepare, PATHS, 4, threads=4)
    assert next(chunks) == PATHS[:4]
    with pytest.raises(DataError, match=r"5\.png"):
        next(chunks)
    assert not [one for one in threading.enumerate() if one.name.startswith("prepare")]


@pytest.mark.parametrize("broken", [None, "2.png", "7.png"])
def test_the_caller_prepares_what_the_threads_have_not_begun(broken: str | None) -> None:
    helped, own = threading.Event(), []

    def prepare(paths: Sequence[Path]) -> list[Path]:
        if threading.current_thread() is threading.main_thread():
            own.extend(paths)
            helped.set()
        else:
            assert helped.wait(20)
        if broken in map(str, paths):
            raise DataError(str(broken), required="a file", fix="none")
        return [*paths]

    chunks = prepared_ahead(prepare, PATHS[:16], 8, threads=1)
    if broken is None:
        assert [path for chunk in chunks for path in chunk] == PATHS[:16]
    else:
        with pytest.raises(DataError, match=broken):
            next(chunks)
    assert PATHS[7] in own
    assert PATHS[0] not in own


def test_who_stops_early_leaves_no_thread() -> None:
    chunks = prepared_ahead(list, PATHS, 4, threads=4)
    assert next(iter(chunks)) == PATHS[:4]
    chunks.close()  # type: ignore[attr-defined]
    assert not [one for one in threading.enumerate() if one.name.startswith("prepare")]
