"""Graphs in tables: roles of columns, features, times, parts, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("polars", reason="the extra 'graph' is not installed")

from lorkit.decompose.config import GraphSource
from lorkit.decompose.data.graphs.graph import Graph, Keys
from lorkit.decompose.data.graphs.reading import read_graph
from lorkit.decompose.errors import DataError, UsageError

TEXT = """Time,Source,Target,Amount,Note,Weekend,Labels
5,007,T1,13.5,first,true,0
6,7,T1,-2,,false,1
6,007,,100,x,false,2
4,007,T2,1,y,true,
"""
SOURCE = {"relations": ["Source", "Target"], "time": "Time", "classes": ("honest", "fraud")}


def read(path: Path, text: str = TEXT, **changes: Any) -> Graph:
    path.write_text(text)
    return read_graph([path], GraphSource(**{**SOURCE, **changes}))


def keys(graph: Graph, name: str) -> Keys:
    relation = graph.relations[name]
    assert isinstance(relation, Keys)
    return relation


def test_all_roles(tmp_path: Path) -> None:
    graph = read(tmp_path / "t.csv")
    assert keys(graph, "Source").keys_N.tolist() == [0, 1, 0, 0]
    assert keys(graph, "Source").names == ("007", "7")
    assert keys(graph, "Target").keys_N.tolist() == [0, 0, -1, 1]
    assert graph.feature_names == ("Amount", "Weekend")
    assert graph.features_NF.tolist() == [[13.5, 1], [-2, 0], [100, 0], [1, 1]]
    assert graph.labels_N.tolist() == [0, 1, -1, -1]
    assert graph.times_N is not None
    assert graph.times_N.tolist() == [5, 6, 6, 4]
    assert graph.ids == ("0", "1", "2", "3")
    texts = " ".join(graph.notices)
    assert "1 column without numbers left out: Note" in texts
    assert "'2' (1)" in texts
    assert "time runs backwards at 1 row, first at row 4" in texts


@pytest.mark.parametrize("name", ["label", "LABELS", "Class", "is_fraud", "Fraud"])
def test_labels_are_found_by_their_usual_names(tmp_path: Path, name: str) -> None:
    graph = read(tmp_path / "t.csv", TEXT.replace("Labels", name))
    assert graph.labels_N.tolist() == [0, 1, -1, -1]
    assert name not in graph.feature_names


def test_stated_columns(tmp_path: Path) -> None:
    text = "who,day,y,a,b,split\nx,2024-01-01,yes,1,2,train\nz,2024-01-02,no,3,4,validation\nv,2024-01-02,no,5,6,\n"
    graph = read(
        tmp_path / "t.csv",
        text,
        relations="day",
        time="day",
        label="y",
        id="who",
        features=["b"],
        classes=None,
        simulated=True,
    )
    assert graph.ids == ("x", "z", "v")
    assert graph.parts == ("train", "val", None)
    assert graph.feature_names == ("b",)
    assert graph.features_NF.tolist() == [[2], [4], [6]]
    assert (graph.classes, graph.labels_N.tolist()) == (("no", "yes"), [1, 0, 0])
    assert graph.times_N is not None
    assert np.diff(graph.times_N).tolist() == [86_400, 0]
    assert graph.synthetic


def test_parquet_dates_are_seconds(tmp_path: Path) -> None:
    import polars

    path = tmp_path / "t.parquet"
    frame = polars.read_csv(TEXT.replace("5,007", "2024-01-01,007").encode(), schema_overrides={"Time": polars.String})
    days = polars.Series("Time", ["2024-01-01", "2024-01-02", "2024-01-02", "2024-01-03"]).str.to_date()
    frame.with_columns(days).write_parquet(path)
    graph = read_graph([path], GraphSource(**SOURCE))  # type: ignore[arg-type]
    assert graph.times_N is not None
    assert np.diff(graph.times_N).tolist() == [86_400, 0, 86_400]
    assert graph.time_form == "dates"
    numbers = [20240101, 20240102, 20240102, 20240103]
    frame.with_columns(polars.Series("Time", numbers)).write_parquet(path)
    again = read_graph([path], GraphSource(**SOURCE))  # type: ignore[arg-type]
    assert again.times_N is not None
    assert (again.times_N.tolist(), again.time_form) == (graph.times_N.tolist(), "dates")
    assert keys(graph, "Source").names == ("7",)  # Parquet states the type itself


def test_a_further_column_of_labels_is_told(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("user,sum,fraud,chargeback\na,1,0,0\nb,2,1,1\n")
    source = {"relations": ("user",), "label": "chargeback"}
    graph = read_graph([tmp_path / "t.csv"], GraphSource.model_validate(source))
    assert graph.feature_names == ("sum", "fraud")
    assert "the column 'fraud' is a feature, though it is named like a label" in "; ".join(graph.notices)
    stated = GraphSource.model_validate({**source, "features": ("sum",)})
    assert "named like a label" not in "; ".join(read_graph([tmp_path / "t.csv"], stated).notices)


def test_tables_of_one_name_in_several_folders_have_other_rows(tmp_path: Path) -> None:
    paths = [tmp_path / year / "pay.csv" for year in ("2023", "2024")]
    for path in paths:
        path.parent.mkdir()
        path.write_text(TEXT)
    ids = read_graph(paths, GraphSource(**SOURCE)).ids  # type: ignore[arg-type]
    assert ids[:2] == ("1/pay/0", "1/pay/1")
    assert len(set(ids)) == len(ids)


def test_rows_of_several_tables_follow_each_other_in_their_parts(tmp_path: Path) -> None:
    head, *rows = TEXT.splitlines()
    paths = [tmp_path / f"{part}.csv" for part in ("a", "b", "c")]
    for path, row in zip(paths, rows, strict=False):
        path.write_text(f"{head}\n{row}\n")
    source = GraphSource(**SOURCE)  # type: ignore[arg-type]
    graph = read_graph(paths, source, parts=["train", "val", "test"])
    assert graph.parts == ("train", "val", "test")
    assert graph.ids == ("a/0", "b/0", "c/0")
    assert keys(graph, "Source").keys_N.tolist() == [0, 1, 0]
    paths[2].write_text("Time,Source,Labels\n1,2,0\n")
    with pytest.raises(DataError, match=r"c\.csv and .*a\.csv differ in the columns Amount, Note, Target, Weekend"):
        read_graph(paths, source)


def test_rows_without_labels_need_stated_classes(tmp_path: Path) -> None:
    text = TEXT.replace("Labels", "Outcome")
    graph = read(tmp_path / "t.csv", text, features=["Amount"])
    assert graph.labels_N.tolist() == [-1] * 4
    with pytest.raises(UsageError, match="no column of labels among Time"):
        read(tmp_path / "t.csv", text, classes=None)


@pytest.mark.parametrize(
    ("text", "changes", "message"),
    [
        (TEXT, {"relations": None}, "states no relations; .*some of Time, Source"),
        (TEXT, {"relations": ["Sorce"]}, "unknown column .* 'Sorce'.*did you mean 'Source'"),
        (TEXT, {"time": "When"}, "unknown column"),
        (TEXT, {"features": ["Note"]}, "the feature 'Note' holds text"),
        (TEXT.replace("Note", "class"), {}, "has class and Labels; required: one column of labels"),
    ],
)
def test_wrong_settings_are_usage_errors(tmp_path: Path, text: str, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        read(tmp_path / "t.csv", text, **changes)


@pytest.mark.parametrize(
    ("old", "new", "changes", "message"),
    [
        ("100", "", {}, r"feature 'Amount' of node '2' \(row 3, column 1\) is nan"),
        ("100", "inf", {}, "is inf"),
        ("4,007", ",007", {}, "row 4: time ''"),
        ("4,007", "soon,007", {}, "row 4: time 'soon'"),
        ("4,007", "nan,007", {}, "row 4: time 'nan'"),
        ("4,007", "2024-01-31,007", {}, "row 4: time '2024-01-31'; required: a number"),
        ("", "", {"id": "Source"}, "column 'Source', row 3: '007' as in row 1"),
        ("", "", {"id": "Target"}, "column 'Target', row 2"),
        (",x,", ",x,", {"classes": ("only",)}, "classes only; required: two or more"),
        ("Note", "split", {}, "split 'first'"),
        (TEXT, TEXT.splitlines()[0] + "\n", {}, "no nodes"),
    ],
)
def test_bad_rows_are_data_errors(tmp_path: Path, old: str, new: str, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        read(tmp_path / "t.csv", TEXT.replace(old, new) if old else TEXT, **changes)


def test_the_simulated_transactions_have_their_published_sizes(data_root: Path) -> None:
    source = GraphSource(
        relations=("Source", "Target", "Location", "Type"), time="Time", classes=("legitimate", "fraud"), simulated=True
    )
    graph = read_graph([data_root / "fraud" / "S-FFSD.csv"], source)
    assert np.bincount(graph.labels_N + 1).tolist() == [48_238, 24_387, 5_256]
    sizes = {name: len(keys(graph, name).names) for name in graph.relations}
    assert sizes == {"Source": 30_346, "Target": 886, "Location": 296, "Type": 166}
    assert graph.feature_names == ("Amount",)
