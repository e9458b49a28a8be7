"""Roles of columns: of tables that hypothesis makes, of the layouts of published tables, and where there are doubts."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pl = pytest.importorskip("polars", reason="the extra 'graph' is not installed")

from lorkit.decompose.data.graphs.column_roles import FoundTable, recognise, roles_in_words  # noqa: E402
from lorkit.decompose.errors import DataError, UsageError  # noqa: E402

NAMES = {
    "entity": ["customer_id", "nameDest", "card", "Source", "merchant", "device_id", "ip"],
    "text": ["a", "grp", "partner", "Kürzel"],
    "amount": ["amount", "TransactionAmt", "balance", "x1"],
    "count": ["n_items", "age", "hour", "user_count"],
    "time": ["time", "timestamp", "Date", "trans_date"],
    "label": ["is_fraud", "label", "Class", "isFraud"],
    "id": ["transaction_id", "TransactionID", "uuid"],
}


@st.composite
def tables(draw: st.DrawFn) -> tuple[Any, dict[str, str]]:
    """Return a table of payments in a random order of columns, and the role that each column was made for."""
    rows = draw(st.integers(60, 400))
    rng = np.random.default_rng(draw(st.integers(0, 2**20)))
    cells: dict[str, tuple[str, Any]] = {}

    def add(kind: str, role: str, values: Any) -> None:
        name = draw(st.sampled_from(NAMES[kind]).filter(lambda one: one not in cells))
        cells[name] = (role, values)

    few = max(10, rows // 20)
    for _ in range(draw(st.integers(1, 2))):
        numbers = rng.integers(0, few, rows)
        add("entity", "relation", 1000 + numbers if draw(st.booleans()) else [f"e{number}" for number in numbers])
    if draw(st.booleans()):
        add("text", "relation", [f"s{number}" if number else None for number in rng.integers(0, few, rows)])
    add("amount", "feature", np.round(rng.lognormal(size=rows), 2) + 0.001)
    add("count", "feature", rng.integers(0, 30, rows))
    if draw(st.booleans()):
        seconds = np.sort(rng.integers(10**9, 2 * 10**9, rows))
        dates = [str(np.datetime64(int(second), "s")) for second in seconds]
        add("time", "time", seconds if draw(st.booleans()) else dates)
    if draw(st.booleans()):
        add("id", "id", [f"t{number}" for number in rng.permutation(rows)])
    labels = (rng.random(rows) < 0.2).astype(int)
    labels[:4] = [0, 1, 0, 1]
    add("label", "label", labels if draw(st.booleans()) else [("no", "yes")[label] for label in labels])
    order = draw(st.permutations(sorted(cells)))
    return pl.DataFrame({name: cells[name][1] for name in order}), {name: cells[name][0] for name in order}


@settings(max_examples=60, deadline=None)
@given(tables())
def test_every_column_gets_the_role_that_it_was_made_for(made: tuple[Any, dict[str, str]]) -> None:
    frame, roles = made
    found = recognise(frame)
    assert {one.name: one.role for one in found.columns} == roles
    assert [one.name for one in found.columns] == frame.columns
    assert not found.notes
    assert len(roles_in_words(found.columns, "t")) == len(roles)


def table(rows: int = 300, **changes: Any) -> Any:
    rng = np.random.default_rng(0)
    cells = {
        "user": [f"u{number}" for number in rng.integers(0, 40, rows)],
        "amount": rng.normal(size=rows),
        "label": np.arange(rows) % 2,
    }
    cells |= {name: values(rng) if callable(values) else values for name, values in changes.items()}
    return pl.DataFrame({name: values for name, values in cells.items() if values is not None})


def role(found: FoundTable, name: str) -> tuple[str, str]:
    return next((one.role, one.why) for one in found.columns if one.name == name)


SECONDS = 1_700_000_000 + np.cumsum(np.arange(300) % 7 * 1000 + 1)
DAYS = [int(str(np.datetime64("2024-01-31") + int(day)).replace("-", "")) for day in np.arange(300) // 2]


@pytest.mark.parametrize(
    ("name", "values", "said"),
    [
        ("when", SECONDS, "seconds since 1970, by its name, never falling"),
        ("when", SECONDS[::-1], "seconds since 1970, by its name"),
        ("timestamp", SECONDS * 1000, "milliseconds since 1970, by its name, never falling"),
        ("ts", SECONDS * 10**6, "microseconds since 1970, by its name, never falling"),
        ("date", DAYS, "dates as digits, by its name, never falling"),
        ("paid_at", DAYS[::-1], "dates as digits, by its name"),
        ("when", np.arange(300) * 7, "numbers, by its name, never falling"),
        ("x1", SECONDS, "seconds since 1970, by its values, never falling"),
        ("x1", SECONDS[::-1], "seconds since 1970, by its values"),
        ("x1", DAYS, "dates as digits, by its values, never falling"),
        ("x1", [str(SECONDS[0].astype("datetime64[s]")), "2024-01-31", "2025-01-31"] * 100, "dates"),
    ],
)
def test_times_are_recognised_by_name_and_by_content(name: str, values: Any, said: str) -> None:
    found = recognise(table(**{name: values}))
    assert role(found, name) == ("time", said)
    assert found.settings()["time"] == name
    doubt = f"the time {name} is not named as one: take `time` out of the region if it is none"
    assert found.notes == ((doubt,) if "by its values" in said else ())


@pytest.mark.parametrize(
    ("name", "values", "wanted"),
    [
        ("transaction_id", SECONDS, "id"),
        ("row", 1_000_000_000 + np.arange(300), "id"),
        ("phone", 1_000_000_000 + np.arange(300) % 60 * 1000, "relation"),
        ("balance", SECONDS[::-1], "feature"),
        ("x1", np.arange(300) * 77 % 300, "feature"),
        ("timestamp", SECONDS * 10**9, "left out"),
        ("when", np.where(np.arange(300) == 5, np.nan, SECONDS), "left out"),
    ],
)
def test_what_only_looks_like_a_time_is_none(name: str, values: Any, wanted: str) -> None:
    found = recognise(table(**{name: values}))
    assert role(found, name)[0] == wanted
    assert "time" not in found.settings()
    assert any("write microseconds or dates" in text for text in found.notes) == (name == "timestamp")


@pytest.mark.parametrize(
    ("name", "values", "wanted", "said"),
    [
        ("country", lambda rng: rng.choice(["DE", "FR"], 300), "left out", "a category"),
        ("note", [f"n{row}" for row in range(300)], "left out", "hardly any repeats"),
        ("device", ["x"] * 285 + [f"d{row // 2}" for row in range(15)], "left out", "one value in 95% of the rows"),
        ("row", np.arange(300), "id", "another value in every row"),
        ("zip", lambda rng: rng.integers(10000, 10050, 300), "relation", "named as an entity"),
        ("cells", lambda rng: rng.integers(0, 250, 300), "feature", "add it to `relations`"),
        ("empty", lambda rng: np.where(rng.random(300) < 0.1, np.nan, 0.5), "left out", "missing or not finite"),
        ("birth_date", ["1990-01-01", "1991-05-05", None] * 100, "left out", "dates beside the time"),
        ("lists", [[1]] * 300, "left out", "neither text nor numbers"),
        ("flag", lambda rng: rng.random(300) < 0.5, "feature", "numbers"),
        ("card_type", lambda rng: rng.integers(0, 4, 300), "feature", "whole numbers"),
        ("split", lambda rng: rng.choice(["train", "val", "test"], 300), "part", "names train, val, test"),
    ],
)
def test_roles_and_their_reasons(name: str, values: Any, wanted: str, said: str) -> None:
    found = recognise(table(**{name: values}))
    assert role(found, name)[0] == wanted
    assert said in role(found, name)[1]
    assert role(found, "user")[0] == "relation"


def test_features_are_stated_where_a_column_of_numbers_is_left_out() -> None:
    assert "features" not in recognise(table()).settings()
    assert recognise(table(gap=[1.5, None] * 150)).settings()["features"] == ["amount"]
    assert "features" not in recognise(table(note=[f"n{row}" for row in range(300)])).settings()


@pytest.mark.parametrize(
    ("values", "classes"),
    [
        ([0, 1] * 150, ("0", "1")),
        ([0, 1, 1] * 100, ("0", "1")),  # 1 is the positive one although it is the more frequent one
        ([1, 2, 2] * 100, ("2", "1")),
        (["ok", "ok", "scam"] * 100, ("ok", "scam")),
        (["yes", "yes", "no"] * 100, ("no", "yes")),
        ([True, False] * 150, ("false", "true")),
        (["True", "true", "False", "FALSE", "false", "true"] * 50, ("false", "true")),
        ([0.0, 1.0, None] * 100, ("0", "1")),
        ([0, 1, -1] * 100, ("0", "1")),
        (["a", "b", "unknown"] * 100, ("a", "b")),
        ([0, 0, 1, 2] * 75, ("0", "1", "2")),
    ],
)
def test_classes_end_with_the_positive_one(values: list[Any], classes: tuple[str, ...]) -> None:
    found = recognise(table(label=values))
    assert found.classes == classes
    assert not found.notes


def test_a_most_frequent_two_beside_zero_and_one_is_no_class() -> None:
    found = recognise(table(label=[0, 1, 2, 2, 2] * 60))
    assert found.classes == ("0", "1")
    assert found.notes == (
        "2 of label is the most frequent value beside 0 and 1 and counts as unlabelled: state classes: ['0', '1', '2']"
        " if it is a class",
    )


def test_doubts_are_said_with_what_settles_them() -> None:
    found = recognise(table(is_fraud=[0, 0, 1] * 100))
    assert role(found, "is_fraud")[0] == "label"
    assert found.notes == ("the label may also be label: --label NAME takes another column",)
    assert role(recognise(table(is_fraud=[0, 0, 1] * 100), label="label"), "label") == (
        "label", "as stated; classes 0 (150), 1 (150), 1 is the positive one",
    )  # fmt: skip
    times = {"time": np.arange(300) * 2, "date": ["2024-01-01", "2024-01-02", "2024-01-03"] * 100}
    found = recognise(table(**times))
    assert (role(found, "time")[0], role(found, "date")[0]) == ("time", "left out")
    assert found.notes == ("the time may also be date: state `time` in the region",)
    found = recognise(table(label=None, odd=[0, 1] * 150))
    assert found.notes == ("the label is not named as one: --label NAME takes another column than odd",)


@pytest.mark.parametrize(
    ("changes", "label", "error", "said"),
    [
        ({"label": None}, None, DataError, "no column is named as a label"),
        ({"label": None, "a": [0, 1] * 150, "b": [0, 1] * 150}, None, DataError, "several have two values: a, b"),
        ({"user": None}, None, DataError, "no column names entities"),
        ({"amount": [1.5, None] * 150}, None, DataError, r"no column of numbers is a feature \(amount is left out"),
        ({"amount": None}, None, DataError, "no column of numbers is a feature"),
        ({}, "labl", UsageError, "unknown column 'labl'"),
        ({}, "user", UsageError, "the label 'user' has 40 values"),
        ({}, "amount", UsageError, "the label 'amount' has 300 values"),
    ],
)
def test_tables_without_what_a_graph_needs(changes: dict[str, Any], label: Any, error: type, said: str) -> None:
    with pytest.raises(error, match=said):
        recognise(table(**changes), label=label)


def test_published_layouts() -> None:
    rng = np.random.default_rng(1)
    rows = 2000
    paysim = pl.DataFrame(
        {
            "step": np.sort(rng.integers(1, 700, rows)),
            "type": rng.choice(["PAYMENT", "TRANSFER", "CASH_OUT", "DEBIT", "CASH_IN"], rows),
            "amount": rng.lognormal(8, 1, rows),
            "nameOrig": [f"C{number}" for number in rng.permutation(10 * rows)[:rows]],
            "newbalanceOrig": rng.integers(0, 10**6, rows),
            "nameDest": [f"M{number}" for number in rng.integers(0, 300, rows)],
            "isFraud": (rng.random(rows) < 0.1).astype(int),
            "isFlaggedFraud": (rng.random(rows) < 0.01).astype(int),
        }
    )
    found = recognise(paysim)
    assert {one.name: one.role for one in found.columns} == {
        "step": "time", "type": "left out", "amount": "feature", "nameOrig": "left out", "newbalanceOrig": "feature",
        "nameDest": "relation", "isFraud": "label", "isFlaggedFraud": "feature",
    }  # fmt: skip
    ieee = pl.DataFrame(
        {
            "TransactionID": np.arange(rows) + 2987000,
            "isFraud": (rng.random(rows) < 0.1).astype(int),
            "TransactionDT": np.sort(rng.integers(86400, 10**7, rows)),
            "TransactionAmt": rng.lognormal(4, 1, rows),
            "card1": rng.integers(1000, 1600, rows),
            "card2": np.where(rng.random(rows) < 0.1, np.nan, rng.integers(100, 600, rows)),
            "P_emaildomain": rng.choice([f"m{number}.com" for number in range(59)], rows),
            "C1": rng.integers(0, 60, rows),
            "D1": np.where(rng.random(rows) < 0.1, np.nan, rng.integers(0, 600, rows)),
        }
    )
    settings = recognise(ieee).settings()
    assert settings == {
        "relations": ["card1", "card2", "P_emaildomain"], "time": "TransactionDT", "label": "isFraud",
        "id": "TransactionID", "classes": ["0", "1"], "features": ["TransactionAmt", "C1"],
    }  # fmt: skip
