"""`predict` prints a line per image, from an export or from the best one of a region."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lorkit.decompose.documents.predict import PredictDocument

PREDICTION = {
    "synthetic": False,
    "warnings": [],
    "predictions": [
        {"input": "a.png", "label": "x", "top": [{"label": "x", "probability": 0.75}]},
        {"input": "b.png", "label": None, "top": []},
    ],
}


@pytest.fixture(autouse=True)
def named(tmp_path: Path) -> None:
    """What the commands of these tests name: images, and an export."""
    for name in ("a.png", "b.png", "export/dir/manifest.json"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()


def test_options_arrive_and_results_leave(check_verb: Callable[..., Any], draft: Callable[..., Any]) -> None:
    words = ["predict", "--region", "chest", "a.png", "b.png"]
    check_verb(
        words,
        draft(PredictDocument, PREDICTION),
        options={"region": "chest", "allow_synthetic": False, "top": 1},
        stdout="a.png\tx 0.750\nb.png\trefused: does not look like the region\n",
    )


def test_predict_takes_a_path_or_a_region(
    decompose: Callable[..., Any], record: Callable[..., Any], draft: Callable[..., Any]
) -> None:
    recorder = record("predict", draft(PredictDocument, PREDICTION))
    decompose("predict", "export/dir", "a.png")
    assert recorder.args == (Path("export/dir"), [Path("a.png")])
    decompose("predict", "--region", "chest", "a.png")
    assert recorder.args == (None, [Path("a.png")])


def test_a_folder_that_is_no_artifact_holds_images_for_the_newest_run(
    decompose: Callable[..., Any], record: Callable[..., Any], draft: Callable[..., Any], tmp_path: Path
) -> None:
    recorder = record("predict", draft(PredictDocument, PREDICTION))
    for name in ("scans", "expert"):
        (tmp_path / name).mkdir()
    decompose("predict", str(tmp_path / "scans"))
    assert recorder.args == (None, [tmp_path / "scans"])
    (tmp_path / "expert" / "manifest.json").write_text("{}", encoding="utf-8")
    decompose("predict", str(tmp_path / "expert"), str(tmp_path / "scans"))
    assert recorder.args == (tmp_path / "expert", [tmp_path / "scans"])


def test_a_stream_is_answered_line_by_line(
    decompose: Callable[..., Any], record: Callable[..., Any], tmp_path: Path
) -> None:
    recorder = record("stream", ['{"id": 1}', '{"id": 2}'])
    (tmp_path / "rows.jsonl").write_text("{}\n{}\n", encoding="utf-8")
    words = ["predict", "--region", "fraud", "--stream", str(tmp_path / "rows.jsonl"), "--store", "s.db", "--fill"]
    outcome = decompose(*words)
    assert (outcome.code, outcome.stdout) == (0, '{"id": 1}\n{"id": 2}\n')
    assert (recorder.args[0], recorder.args[2]) == (None, "s.db")
    assert {"region": "fraud", "fill": True, "allow_synthetic": False}.items() <= recorder.options.items()
    url = "redis://:secret@host:6379/1"  # a path would have one / less
    decompose("predict", "export/dir", "--stream", str(tmp_path / "rows.jsonl"), "--store", url)
    assert (recorder.args[0], recorder.args[2]) == (Path("export/dir"), url)


def test_options_of_streams_and_images_do_not_mix(decompose: Callable[..., Any], tmp_path: Path) -> None:
    rows = tmp_path / "rows.jsonl"
    rows.touch()
    for words, said in (
        (["--stream", str(rows)], "--stream without --store"),
        (["--stream", str(rows), "--store", "s", "--out", "o"], "--out with --stream"),
        (["a.png", "--store", "s"], "--store without --stream"),
        (["a.png", "--fill"], "--fill without --stream"),
    ):
        outcome = decompose("predict", *words)
        assert outcome.code == 2
        assert said in outcome.stderr
    outcome = decompose("predict", "--stream", str(tmp_path / "none.jsonl"), "--store", "s")
    assert outcome.code == 2
    assert "no file or directory at" in outcome.stderr
    outcome = decompose("predict", "--stream", str(tmp_path), "--store", "s")
    assert outcome.code == 4
    assert "cannot be read (Is a directory)" in outcome.stderr
