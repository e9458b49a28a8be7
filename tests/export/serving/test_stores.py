"""Stores of both kinds: whole whatever happens to a process, shared by several, refused for another network."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from stores import Places, assert_same, content, lines_of
from streams import node_input, open_scorer, open_store, transactions

from lorkit.decompose.errors import ArtifactError
from lorkit.export.serving.counters import Ledger
from lorkit.export.serving.stream import answer_lines

KILLED = Path(__file__).parents[2] / "helpers" / "killed_streams.py"


def test_a_reopened_store_goes_on(places: Places) -> None:
    rows = transactions(20)
    whole, _ = open_scorer(open_store(places("whole")))
    scores = whole.score(rows)
    for part in (rows[:7], rows[7:]):
        scorer, _ = open_scorer(open_store(places("parts")))
        assert scorer.score(part) == [scores[rows.index(row)] for row in part]
        scorer.store.close()
    assert content(places("parts"))[1] == content(places("whole"))[1]


def test_a_network_that_fails_counts_nothing(places: Places) -> None:
    scorer, _ = open_scorer(open_store(places("s")))
    scorer.score(transactions(3))
    before = content(places("s"))

    def fail(batch: object) -> None:
        raise RuntimeError("no engine")

    scorer._run = fail  # type: ignore[assignment]
    with pytest.raises(RuntimeError):
        scorer.score(transactions(9)[3:])
    after = content(places("s"))
    assert after[1] == before[1]
    assert all((after[0][place] == values).all() for place, values in before[0].items())


def test_what_was_written_before_a_failure_is_forgotten(places: Places) -> None:
    scorer, _ = open_scorer(open_store(places("s")))
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
def test_the_store_of_another_network_is_refused(places: Places, changes: dict[str, Any], said: str) -> None:
    open_store(places("s")).close()
    with pytest.raises(ArtifactError, match=said):
        open_store(places("s"), node_input(**changes))
    with pytest.raises(ArtifactError, match="made for the classes no, yes; required: yes, no"):
        open_store(places("s"), classes=("yes", "no"))
    open_store(places("s"), node_input(timed=False, hops=2)).close()  # its sums are the same


def test_two_processes_take_turns(places: Places) -> None:
    rows = transactions(30)
    alone, _ = open_scorer(open_store(places("alone")))
    first, _ = open_scorer(open_store(places("s")))
    second, _ = open_scorer(open_store(places("s")))
    scores = alone.score(rows)
    for at, row in enumerate(rows):
        assert (first, second)[at % 2].score([row]) == [scores[at]]


def test_kill_at_50_random_moments_loses_and_doubles_nothing(places: Places) -> None:
    lines = lines_of(900)
    command = [sys.executable, str(KILLED), str(places("killed")), "50"]
    done = subprocess.run(command, input="\n".join(lines), capture_output=True, text=True, check=True, timeout=600)
    scorer, _ = open_scorer(open_store(places("whole")))
    whole = list(answer_lines(scorer, [line.encode() for line in lines], batch=1))
    assert done.stdout.splitlines() == whole
    assert_same(content(places("killed")), content(places("whole")))
