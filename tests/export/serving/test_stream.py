"""A line of JSON for each line, whatever it holds."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from stores import Places
from streams import open_scorer, open_store, transactions

from lorkit.export.serving.stream import answer_lines


def ask(store: Path | str, *lines: Any, batch: int = 256) -> list[Any]:
    """Return the answers to lines; objects are written as JSON."""
    scorer, _ = open_scorer(open_store(store))
    written = [line if isinstance(line, bytes) else json.dumps(line).encode() for line in lines]
    answers = list(answer_lines(scorer, written, batch=batch))
    scorer.store.close()
    assert not any("\n" in line for line in answers)
    return [json.loads(line, parse_constant=pytest.fail) for line in answers]


def test_rows_and_labels_are_answered_in_order(places: Places) -> None:
    first, second, third = transactions(3)
    second["id"] = 17
    found = ask(places("s"), first, second, {"id": 17, "label": "yes"}, third)
    assert [one["id"] for one in found] == ["t0", 17, 17, "t2"]
    assert found[2] == {"id": 17, "label": "yes", "recorded": True}
    for one in (found[0], found[1], found[3]):
        assert set(one) == {"id", "score", "probabilities", "answer"}
        assert one["score"] == pytest.approx(one["probabilities"]["yes"] - one["probabilities"]["no"])


def test_batches_answer_as_single_lines(places: Places) -> None:
    rows: list[Any] = list(transactions(20))
    rows[5:5] = [{"id": "t1", "label": "yes"}, b"{", {"id": "t3", "label": "no"}]
    assert ask(places("a"), *rows, batch=1) == ask(places("b"), *rows, batch=7)


def test_nothing_is_answered_to_an_empty_stream(places: Places) -> None:
    assert ask(places("s")) == []


def test_a_pause_asks_for_the_answers_so_far(places: Places) -> None:
    scorer, _ = open_scorer(open_store(places("s")))
    first, second, third = (json.dumps(row).encode() for row in transactions(3))
    given: list[bytes | None] = []

    def lines() -> Iterator[bytes | None]:
        for line in (first, b"{", None, None, second, b'{"id": "t1", "label": "yes"}', None, third):
            given.append(line)
            yield line

    counts = [(json.loads(answer)["id"], len(given)) for answer in answer_lines(scorer, lines())]
    assert counts == [("t0", 3), (None, 3), ("t1", 7), ("t1", 7), ("t2", 8)]


def test_a_byte_order_mark_before_the_first_line_is_no_part_of_it(places: Places) -> None:
    rows = [json.dumps(row).encode() for row in transactions(3)]
    marked = b"\xef\xbb\xbf" + rows[0]
    assert ask(places("a"), marked, *rows[1:]) == ask(places("b"), *rows)
    assert ask(places("c"), rows[0], b"\xef\xbb\xbf" + rows[1])[1]["error"]  # a mark is at the start only


@pytest.mark.parametrize("batch", [1, 4, 256])
def test_wrong_lines_do_not_part_a_batch_and_are_numbered(places: Places, batch: int) -> None:
    lines: list[Any] = list(transactions(9))
    lines[3:3] = [b"[", {"id": "t1"}]
    lines.insert(0, b"")
    found = ask(places(f"s{batch}"), *lines, batch=batch)
    assert [(at, one["line"]) for at, one in enumerate(found, start=1) if "error" in one] == [(1, 1), (5, 5), (6, 6)]
    assert [one["id"] for one in found if "error" in one] == [None, None, "t1"]
    assert [one for one in found if "error" not in one] == ask(places(f"t{batch}"), *transactions(9), batch=1)


def test_a_batch_is_one_transaction_with_its_wrong_lines(places: Places) -> None:
    scorer, network = open_scorer(open_store(places("s")))
    lines = [json.dumps(row).encode() for row in transactions(6)]
    lines.insert(3, b"{")
    calls: list[int] = []
    scorer._run = lambda batch: calls.append(len(batch)) or network(batch)  # type: ignore[func-returns-value]
    assert len(list(answer_lines(scorer, lines))) == 7
    assert calls == [6]


@pytest.mark.parametrize(
    "line",
    [
        b"", b"{", b"[]", b"null", b"\xff\xfe", b'{"id": "\\ud800"}', b"[" * 100_000, b'{"id": ' + b"1" * 5000 + b"}",
        b'{"id": NaN}', b'{"id": {"a": 1}, "label": "yes"}', b'{"id": "t7", "label": "yes"}', b'{"label": "yes"}',
        b'{"id": "' + b"x" * 2**20 + b'"}', b'{"id": "t0", "label": ["yes"]}', b'{"id": "t0", "label": "maybe"}',
        b'{"id": "new"}',
    ],
)  # fmt: skip
def test_a_wrong_line_is_answered_and_the_stream_goes_on(places: Places, line: bytes) -> None:
    first, last = transactions(2)
    found = ask(places("s"), first, line, last)
    assert set(found[1]) == {"id", "line", "error"}
    assert found[1]["line"] == 2
    assert "required: " in found[1]["error"]
    assert ["score" in one for one in found] == [True, False, True]
