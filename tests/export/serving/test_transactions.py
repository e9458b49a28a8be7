"""Rows that are wrong are refused by name, and keys are the texts that a table has."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
from streams import open_scorer, open_store, transactions

from lorkit.decompose.errors import DataError
from lorkit.export.serving.scores import Score


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"amount": float("nan")}, "feature 'amount' is nan"),
        ({"amount": None}, "feature 'amount' is null"),
        ({"amount": "7"}, "feature 'amount' is '7'"),
        ({"amount": 10**400}, "feature 'amount' is 1000"),
        ({"id": None}, "no id"),
        ({"id": ["t"]}, "no id"),
        ({"card": {}}, "'card' is {}"),
        ({"time": "soon"}, "time is 'soon'"),
        ({"label": "yes"}, "a label in the row"),
    ],
)
def test_a_wrong_row_is_told_and_the_others_are_scored(tmp_path: Path, change: dict[str, Any], said: str) -> None:
    rows = transactions(3)
    scorer, _ = open_scorer(open_store(tmp_path / "s.db"))
    first, wrong, last = scorer.score([rows[0], {**rows[1], **change}, rows[2]])
    assert isinstance(first, Score)
    assert isinstance(last, Score)
    assert isinstance(wrong, DataError)
    assert said in str(wrong)
    assert "\n" not in str(wrong)
    assert len(scorer.store) == 2


def test_a_row_without_a_column_is_refused_by_name(tmp_path: Path) -> None:
    scorer, _ = open_scorer(open_store(tmp_path / "s.db"))
    (row,) = transactions(1)
    del row["shop"]
    assert "no column 'shop'" in str(scorer.score([row])[0])


def test_keys_are_texts_as_in_a_table(tmp_path: Path) -> None:
    scorer, network = open_scorer(open_store(tmp_path / "s.db"))
    for at, card in enumerate([7, "7", 7.0, " 7 ", "7.0", "07"]):
        scorer.score([{"id": at, "card": card, "shop": "", "amount": 1.0, "age": True}])
    sizes = [round(math.expm1(float(one[-1, 0, 1, -1]))) for one in network.seen]
    assert sizes == [0, 1, 2, 3, 4, 0]
    assert [float(one[-1, 1, 1, -1]) for one in network.seen] == [0.0] * 6
