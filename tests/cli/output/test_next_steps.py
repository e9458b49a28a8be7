"""The next commands: only where a person reads, of the run at hand, and with words that the program knows."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import typer.main

from lorkit.cli.commands import list_commands
from lorkit.cli.main import app
from lorkit.cli.output import next_steps, streams
from lorkit.decompose.artifacts import write_json, write_manifest
from lorkit.decompose.documents.export_results import ExportDocument
from lorkit.decompose.documents.inspect import InspectDocument

COMMANDS = dict(list_commands(typer.main.get_command(app)))


@pytest.fixture
def said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[[], list[str]]:
    """Return the suggested commands as words; each is checked against the program."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(next_steps, "is_interactive", lambda: True)

    def read() -> list[str]:
        lines = capsys.readouterr().err.splitlines()
        assert not lines or lines[0] == "next:"
        for words in (shlex.split(line) for line in lines[1:]):
            path = next(path for path in COMMANDS if words[: len(path.split())] == path.split())
            known = {name for one in COMMANDS[path].params for name in one.opts}
            assert {word for word in words if word.startswith("--")} <= known
        return [line.strip() for line in lines[1:]]

    return read


def make_run(name: str, *, synthetic: bool = False, root: str = "runs") -> Path:
    folder = Path(root) / name
    folder.mkdir(parents=True)
    write_json(folder / "regions.json", {"regions": [{"name": "chest"}]})
    write_manifest(folder, "run", synthetic=synthetic)
    return folder


def test_nothing_is_said_where_no_person_reads(capsys: pytest.CaptureFixture[str]) -> None:
    next_steps.suggest("decompose train")
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(("out", "err", "document", "expected"), [
    (True, True, False, True), (False, True, False, False), (True, False, False, False), (True, True, True, False),
])  # fmt: skip
def test_a_person_reads_if_both_streams_are_a_terminal(
    monkeypatch: pytest.MonkeyPatch, out: bool, err: bool, document: bool, expected: bool
) -> None:
    with streams.results_only(document=document):
        monkeypatch.setattr(streams._stdout(), "isatty", lambda: out)
        monkeypatch.setattr(sys.stderr, "isatty", lambda: err)
        assert streams.is_interactive() is expected


def test_words_are_quoted() -> None:
    assert next_steps.command("train", Path("my file.yaml"), None) == "decompose train 'my file.yaml'"
    assert next_steps.settings_words(["a.b=[1, 2]"]) == ["--set", "a.b=[1, 2]"]


def test_the_newest_run_needs_no_name(said: Callable[[], list[str]]) -> None:
    old, new = make_run("old"), make_run("new")
    next_steps.after_training(new)
    assert said() == ["decompose extract", "decompose evaluate"]
    next_steps.after_training(old)
    assert said() == ["decompose extract --run runs/old", "decompose evaluate --run runs/old"]
    next_steps.after_training(make_run("far", root="elsewhere"))
    assert said()[0] == "decompose extract --run elsewhere/far"


def test_an_evaluated_run_is_extracted_and_then_exported(said: Callable[[], list[str]]) -> None:
    run = make_run("one")
    next_steps.after_evaluation(None, None)
    assert said() == ["decompose extract"]
    write_json_of(run / "experts" / "chest" / "manifest.json")
    next_steps.after_evaluation(None, "one")
    assert said() == ["decompose export"]
    write_json_of(run / "experts" / "chest" / "expert.json")
    next_steps.after_evaluation(run / "experts" / "chest", None)
    assert said() == ["decompose export runs/one/experts/chest"]


def write_json_of(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, {})


@pytest.mark.parametrize(("status", "verb"), [("passed", "gate"), ("not_run", "doctor")])
def test_exports_of_a_run_are_gated(
    said: Callable[[], list[str]], draft: Callable[..., Any], status: str, verb: str
) -> None:
    document = draft(ExportDocument, {"exports": [{"path": Path("e"), "parity": {"status": status}}]})
    make_run("one")
    next_steps.after_export(None, None, document)
    assert said() == [f"decompose {verb}"]
    next_steps.after_export(Path("x.onnx"), None, document)
    assert said() == ["decompose verify e", "decompose bench e"]
    next_steps.after_check(Path("e"), None, other="bench")
    assert said() == ["decompose bench e"]


@pytest.mark.parametrize(("split", "expected"), [
    ("test", "decompose compare --methods stl,lorkd --split val"), ("val", "decompose train my.yaml --method lorkd"),
])  # fmt: skip
def test_a_method_is_chosen_on_validation(
    said: Callable[[], list[str]], monkeypatch: pytest.MonkeyPatch, split: str, expected: str
) -> None:
    monkeypatch.setattr(sys, "argv", ["decompose", "compare", "--methods", "stl,lorkd"])
    scores = {"stl": 0.5, "lorkd": 0.75, "tuned": None}
    table = [SimpleNamespace(label=name, value=lambda metric, score=score: score) for name, score in scores.items()]
    arms = [SimpleNamespace(method="stl"), SimpleNamespace(method="lorkd")]
    document: Any = SimpleNamespace(split=split, metric="accuracy", arms=arms, table=table)
    next_steps.after_comparison(document, ["my.yaml"])
    assert said() == [expected]


def test_a_report_leads_to_predictions_or_to_own_data(said: Callable[[], list[str]]) -> None:
    make_run("real")
    next_steps.after_report(None)
    assert said() == ["decompose predict --region chest IMAGE", "decompose pack runs/real"]
    make_run("drawn", synthetic=True)
    next_steps.after_report(None)
    assert said() == ["decompose init --from-data DIR"]


def test_what_was_inspected_can_be_used(said: Callable[[], list[str]], draft: Callable[..., Any]) -> None:
    for kind, commands in (
        ("run", ["decompose extract --run x", "decompose evaluate --run x"]),
        ("export", ["decompose verify x", "decompose bench x"]),
        ("report", []),
    ):
        next_steps.after_inspection(draft(InspectDocument, {"files": [], "artifacts": [{"kind": kind, "path": "x"}]}))
        assert said() == commands
    next_steps.after_inspection(draft(InspectDocument, {"files": [{"path": "data/a.png"}], "artifacts": []}))
    assert said() == ["decompose init --from-data data"]


def test_a_dry_run_is_repeated_without_the_option(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["decompose", "train", "a b.yaml", "--dry-run"])
    assert next_steps.again(without="--dry-run") == "decompose train 'a b.yaml'"
    assert json.dumps(next_steps.again(also=("--out", "p"))).endswith('--out p"')
