"""The file of a stream: kept whole whatever happens to the process, shared by several, refused when it is another."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from streams import node_input, open_scorer, open_store, transactions

from lorkit.decompose.errors import ArtifactError, BusyError, StorageError
from lorkit.export.serving.counters import Ledger
from lorkit.export.serving.sqlite import SqliteStore
from lorkit.export.serving.stream import answer_lines

KILLED = Path(__file__).parents[2] / "helpers" / "killed_streams.py"


def content(path: Path) -> tuple[dict[Any, Any], dict[Any, Any]]:
    """Return sums by place, and label and answer by id, read without lorkit."""
    with sqlite3.connect(path) as connection:
        sums = {
            row[:2]: np.frombuffer(row[2]) for row in connection.execute("SELECT relation, key, sums FROM counters")
        }
        rows = {row[0]: row[1:] for row in connection.execute("SELECT id, label, score FROM rows")}
    connection.close()
    return sums, rows


def lines_of(count: int) -> list[str]:
    """Return rows, and labels of some that are corrected later."""
    lines = []
    for at, row in enumerate(transactions(count)):
        lines.append(json.dumps(row))
        if at % 3 == 2:
            lines.append(json.dumps({"id": f"t{at - 2}", "label": "yes"}))
        if at % 6 == 5:
            lines.append(json.dumps({"id": f"t{at - 5}", "label": "no"}))
    return lines


def test_a_reopened_store_goes_on(tmp_path: Path) -> None:
    rows = transactions(20)
    whole, _ = open_scorer(open_store(tmp_path / "whole.db"))
    scores = whole.score(rows)
    for part in (rows[:7], rows[7:]):
        scorer, _ = open_scorer(open_store(tmp_path / "parts.db"))
        assert scorer.score(part) == [scores[rows.index(row)] for row in part]
        scorer.store.close()
    assert content(tmp_path / "parts.db")[1] == content(tmp_path / "whole.db")[1]


def test_a_network_that_fails_counts_nothing(tmp_path: Path) -> None:
    scorer, _ = open_scorer(open_store(tmp_path / "s.db"))
    scorer.score(transactions(3))
    before = content(tmp_path / "s.db")

    def fail(batch: object) -> None:
        raise RuntimeError("no engine")

    scorer._run = fail  # type: ignore[assignment]
    with pytest.raises(RuntimeError):
        scorer.score(transactions(9)[3:])
    after = content(tmp_path / "s.db")
    assert after[1] == before[1]
    assert all((after[0][place] == values).all() for place, values in before[0].items())


def test_what_was_written_before_a_failure_is_forgotten(tmp_path: Path) -> None:
    scorer, _ = open_scorer(open_store(tmp_path / "s.db"))
    scorer.score([{**row, "card": "a"} for row in transactions(5)])
    place = [(0, "a")]

    def fail(ledger: Ledger) -> None:
        ledger.write_counters(place, ledger.counters(place) + 1)
        raise RuntimeError("stopped")

    wanted = scorer.store.transact(lambda ledger: ledger.counters(place))
    with pytest.raises(RuntimeError):
        scorer.store.transact(fail)
    np.testing.assert_array_equal(scorer.store.transact(lambda ledger: ledger.counters(place)), wanted)
    assert wanted[0, -1, -1] == 5


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"relations": ("card", "place")}, "made for the relations card, shop; required: card, place"),
        ({"features": ("amount", "year")}, "made for the features amount, age"),
        ({"scaling": "none"}, "made for the scaling log-standard; required: none"),
        ({"mean": (0.0, 0.0)}, "made for the mean 0.5, -1.0"),
    ],
)
def test_the_store_of_another_network_is_refused(tmp_path: Path, changes: dict[str, Any], said: str) -> None:
    open_store(tmp_path / "s.db").close()
    with pytest.raises(ArtifactError, match=said):
        open_store(tmp_path / "s.db", node_input(**changes))
    with pytest.raises(ArtifactError, match="made for the classes no, yes; required: yes, no"):
        open_store(tmp_path / "s.db", classes=("yes", "no"))
    open_store(tmp_path / "s.db", node_input(timed=False, hops=2)).close()  # its sums are the same


def test_a_file_of_another_kind_is_refused(tmp_path: Path) -> None:
    (tmp_path / "text.db").write_text("id,label\n" * 500)
    with sqlite3.connect(tmp_path / "other.db") as other:
        other.execute("CREATE TABLE accounts (id INTEGER)")
    other.close()
    before = (tmp_path / "other.db").read_bytes()
    for name in ("text.db", "other.db"):
        with pytest.raises(ArtifactError, match=r"\.db is damaged, or no store of counters"):
            open_store(tmp_path / name)
    assert (tmp_path / "other.db").read_bytes() == before
    with pytest.raises(StorageError, match="cannot be written"):
        open_store(tmp_path / "nowhere" / "s.db")


@pytest.mark.parametrize(
    "statement",
    [
        "DELETE FROM header",
        "DROP TABLE header",
        "UPDATE header SET content = '{}'",
        "UPDATE header SET content = replace(content, 'digest', 'other')",
    ],
)
def test_a_damaged_header_is_refused(tmp_path: Path, statement: str) -> None:
    open_store(tmp_path / "s.db").close()
    with sqlite3.connect(tmp_path / "s.db") as connection:
        connection.execute(statement)
    connection.close()
    with pytest.raises(ArtifactError):
        open_store(tmp_path / "s.db")


def test_a_file_that_was_cut_is_refused(tmp_path: Path) -> None:
    scorer, _ = open_scorer(open_store(tmp_path / "s.db"))
    scorer.score(transactions(400))
    scorer.store.close()
    data = (tmp_path / "s.db").read_bytes()
    (tmp_path / "s.db").write_bytes(data[: len(data) // 2])
    with pytest.raises(ArtifactError, match="is damaged"):
        open_store(tmp_path / "s.db")


def test_two_processes_take_turns(tmp_path: Path) -> None:
    rows = transactions(30)
    alone, _ = open_scorer(open_store(tmp_path / "alone.db"))
    first, _ = open_scorer(open_store(tmp_path / "s.db"))
    second, _ = open_scorer(open_store(tmp_path / "s.db"))
    scores = alone.score(rows)
    for at, row in enumerate(rows):
        assert (first, second)[at % 2].score([row]) == [scores[at]]


def test_a_store_that_is_held_is_refused_after_waiting(tmp_path: Path) -> None:
    store: SqliteStore = open_store(tmp_path / "s.db")
    other, _ = open_scorer(open_store(tmp_path / "s.db", wait_s=0.05))

    def hold(ledger: object) -> None:
        with pytest.raises(BusyError, match=r"another process writes .*s\.db"):
            other.score(transactions(1))

    store.transact(hold)
    other.score(transactions(1))
    assert len(store) == 1


def test_kill_at_50_random_moments_loses_and_doubles_nothing(tmp_path: Path) -> None:
    lines = lines_of(1200)
    command = [sys.executable, str(KILLED), str(tmp_path / "killed.db"), "50"]
    done = subprocess.run(command, input="\n".join(lines), capture_output=True, text=True, check=True, timeout=600)
    scorer, _ = open_scorer(open_store(tmp_path / "whole.db"))
    whole = list(answer_lines(scorer, [line.encode() for line in lines], batch=1))
    assert done.stdout.splitlines() == whole
    sums, rows = content(tmp_path / "killed.db")
    wanted, wanted_rows = content(tmp_path / "whole.db")
    assert rows == wanted_rows
    assert sums.keys() == wanted.keys()
    for place, values in sums.items():
        np.testing.assert_array_equal(values, wanted[place])
