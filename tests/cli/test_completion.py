"""Completion: names of runs and regions from small files, damaged ones left out."""

from __future__ import annotations

import json
import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from lorkit.cli import completion


def make_run(name: str, regions: list[str], *, age: int) -> None:
    folder = Path("runs") / name
    folder.mkdir(parents=True)
    (folder / "manifest.json").write_text("{}")
    (folder / "regions.json").write_text(json.dumps({"regions": [{"name": one} for one in regions]}))
    os.utime(folder / "manifest.json", (1_000_000 - age, 1_000_000 - age))


def context(**params: object) -> Any:
    return SimpleNamespace(params=params)


@pytest.fixture(autouse=True)
def _place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_without_runs_nothing_is_offered() -> None:
    assert completion.runs("") == []
    assert completion.regions(context(), "") == []


def test_the_newest_run_comes_first_and_gives_the_regions() -> None:
    make_run("old", ["knee"], age=50)
    make_run("new", ["chest", "brain"], age=0)
    (Path("runs") / "unfinished").mkdir()
    assert completion.runs("") == ["new", "old"]
    assert completion.runs("o") == ["old"]
    assert completion.regions(context(run=None), "") == ["chest", "brain", "all"]
    assert completion.regions(context(run="old"), "k") == ["knee"]
    assert completion.regions(context(run="runs/old"), "") == ["knee", "all"]
    assert completion.regions(context(run="none"), "") == []


def test_after_a_comma_the_further_regions_are_offered() -> None:
    make_run("new", ["chest", "brain"], age=0)
    assert completion.regions(context(), "chest,") == ["chest,brain"]


def test_a_damaged_run_offers_nothing() -> None:
    make_run("new", [], age=0)
    for text in ("no json", "[]", "{}"):
        (Path("runs") / "new" / "regions.json").write_text(text)
        assert completion.regions(context(), "") == []


def test_profiles_are_the_built_in_ones() -> None:
    assert "rtx-ada" in completion.profiles("rtx")
