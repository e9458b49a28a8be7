"""Processes that share a store leave what one process leaves, in an order in which each keeps its own."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from shared_streams import NODES, count_earlier
from stores import Places, assert_same, content
from streams import CLASSES, open_store

from lorkit.decompose.documents.network import Decision
from lorkit.export.serving.scoring import Scorer
from lorkit.export.serving.stream import answer_lines

Lines = Sequence[Mapping[str, Any]]
SHARED = Path(__file__).parents[2] / "helpers" / "shared_streams.py"


def together(folder: Path, streams: Mapping[str, Lines], batch: int, *places: Path | str) -> list[dict[str, list[Any]]]:
    """Return, for each store, the answers to the lines of each process."""
    for name, lines in streams.items():
        (folder / f"{name}.in").write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")
    command = [sys.executable, str(SHARED), str(folder), str(batch), *map(str, places)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    return [
        {name: list(map(json.loads, (folder / f"{name}.{at}.out").read_text().splitlines())) for name in streams}
        for at in range(len(places))
    ]


def alone(place: Path | str, lines: Lines) -> None:
    """Let one process answer all lines."""
    decision = Decision(policy="f1", thresholds={}, temperature=1.5)
    scorer = Scorer(NODES, CLASSES, decision, count_earlier, open_store(place, NODES))
    list(answer_lines(scorer, [json.dumps(line).encode() for line in lines]))


def rows_of(name: str, count: int) -> list[dict[str, Any]]:
    """Return rows of one card whose features are whole numbers: their sums are the same in any order."""
    return [
        {"id": f"{name}{at}", "card": "a", "shop": f"s{at % 5}", "amount": at, "age": -(at % 7)} for at in range(count)
    ]


def earlier(answers: Sequence[Any]) -> list[int]:
    """Return how many rows each row saw."""
    return [round(1500 * math.log(one["probabilities"]["yes"] / one["probabilities"]["no"])) for one in answers]


@pytest.mark.parametrize("batch", [1, 16])
def test_no_row_is_lost_or_counted_twice_and_each_process_keeps_its_order(
    places: Places, tmp_path: Path, batch: int
) -> None:
    streams = {name: rows_of(name, 80) for name in "xy"}
    (answers,) = together(tmp_path, streams, batch, places("shared"))
    seen = {name: earlier(some) for name, some in answers.items()}
    assert sorted([*seen["x"], *seen["y"]]) == list(range(160))
    assert all(some == sorted(some) for some in seen.values())
    alone(places("alone"), [*streams["x"], *streams["y"]])
    sums, rows = content(places("shared"))
    wanted, wanted_rows = content(places("alone"))
    assert_same((sums, {}), (wanted, {}))
    assert rows.keys() == wanted_rows.keys()
    for one in [*answers["x"], *answers["y"]]:
        assert {"id": one["id"], **json.loads(rows[one["id"]][1])} == one


def test_labels_and_repeated_rows_of_processes_leave_what_one_leaves(places: Places, tmp_path: Path) -> None:
    shared = rows_of("both", 40)
    streams = {}
    for name in "xyz":
        lines: list[dict[str, Any]] = []
        for at, row in enumerate(rows_of(name, 40)):
            lines += [row, shared[at]]
            lines += [{"id": f"{name}{at - 3}", "label": "yes"}] if at >= 3 else []
            lines += [{"id": f"{name}{at - 9}", "label": "no"}] if at >= 9 and at % 2 else []
            lines += [{"id": f"both{at}", "label": "yes"}]
        streams[name] = lines
    (answers,) = together(tmp_path, streams, 8, places("shared"))
    assert not [one for some in answers.values() for one in some if "error" in one]
    scores = {}
    for one in (one for some in answers.values() for one in some if "score" in one):
        assert scores.setdefault(one["id"], one) == one  # a row has one score, whoever sends it
    alone(places("alone"), [line for lines in streams.values() for line in lines])
    sums, rows = content(places("shared"))
    wanted, wanted_rows = content(places("alone"))
    assert_same((sums, {}), (wanted, {}))
    assert {name: row[0] for name, row in rows.items()} == {name: row[0] for name, row in wanted_rows.items()}


def test_a_new_store_is_made_once_by_processes_that_come_together(places: Places, tmp_path: Path) -> None:
    streams = {name: rows_of(name, 1) for name in "abcdef"}
    for answers in together(tmp_path, streams, 1, *(places(f"new{at}") for at in range(6))):
        assert sorted(earlier([some[0] for some in answers.values()])) == list(range(6))
