"""Completion: names of runs and regions from small files, damaged ones left out."""

from __future__ import annotations

import json
import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import typer.main
from click.testing import CliRunner

from lorkit.cli import completion
from lorkit.cli.main import app
from lorkit.decompose.methods import METHODS
from lorkit.decompose.methods.ragformer import ABLATIONS
from lorkit.export.targets import TARGETS


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


def test_methods_and_targets_are_those_of_the_program() -> None:
    """Their names are listed again for completion, which does not wait for torch."""
    assert set(completion.COMPARED) == {*METHODS, *ABLATIONS}
    assert list(completion.TARGETS) == list(TARGETS)
    alone = {name for name in METHODS if name.startswith(("trees", "gcn", "rgcn"))}
    assert set(completion.METHODS) == {*METHODS} - alone


def test_methods_of_a_comparison_are_completed_after_each_comma() -> None:
    assert completion.methods("rd,mtl-k") == ["rd,mtl-kd"]
    assert "lorkd,lorkd" not in completion.methods("lorkd,l")
    assert completion.method("mola") == ["mola-grad", "mola-router"]
    assert completion.targets("trt") == ["trt", "trt-rtx"]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("compare --methods stl,mtl-n", "stl,mtl-nash"),
        ("export --target open", "openvino"),
        ("train --method dr", "drd"),
    ],
)
def test_a_shell_gets_them(words: str, expected: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COMP_WORDS", f"decompose {words}")
    monkeypatch.setenv("COMP_CWORD", "3")
    found = CliRunner().invoke(typer.main.get_command(app), [], prog_name="decompose",
                               env={"_DECOMPOSE_COMPLETE": "complete_bash"})  # fmt: skip
    assert found.output.split() == [expected]
