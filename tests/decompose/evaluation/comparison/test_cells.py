"""Comparisons side by side and after a kill: processes of their own, as two terminals would have them."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lorkit.decompose.artifacts import exclusive, read_json
from lorkit.decompose.config import Config, load_config
from lorkit.decompose.evaluation.comparison import cells, comparison
from lorkit.decompose.evaluation.comparison.comparison import compare
from lorkit.decompose.events import Event, Notice, Started

TINY = ["foundation.backbone=tiny", "student.backbone=tiny", "train.augment=null"]
SCRIPT = f"""
import json, os, signal, sys
sys.modules["torchmetrics"] = None  # Lightning imports it, for seconds, to learn its version
import torch
torch.set_num_threads(1)
sys.path.insert(0, {str(Path(__file__).parents[3] / "helpers")!r})
from small_runs import register_tiny
register_tiny(dict.__setitem__)
from lorkit.decompose import compare, load_config
from lorkit.decompose.events import Saved, Started
started = []
def listen(event):
    if isinstance(event, Started):
        started.append(event.phase)
    if isinstance(event, Saved) and event.phase == sys.argv[3]:
        os.kill(os.getpid(), signal.SIGKILL)
config = load_config(sys.argv[1], overrides=[*{TINY}, "train.epochs=2"])
document = compare(config, methods=sys.argv[2].split(","), on_event=listen)
print(json.dumps({{"started": started, "rows": [row.label for row in document.rows]}}))
"""


def start(made_run: Path, folder: Path, methods: str, dies_after: str = "") -> subprocess.Popen[str]:
    command = [sys.executable, "-c", SCRIPT, str(made_run / "decompose.yaml"), methods, dies_after]
    return subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, text=True)


def end_of(process: subprocess.Popen[str]) -> str:
    """Wait for a process; one that hangs is ended and fails the test."""
    try:
        return process.communicate(timeout=120)[0]
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate(timeout=30)
        raise


def result(process: subprocess.Popen[str]) -> dict[str, Any]:
    text = end_of(process)
    assert process.returncode == 0
    found: dict[str, Any] = json.loads(text)
    return found


def stored(folder: Path) -> dict[str, Any]:
    (path,) = (folder / "comparisons").glob("*/comparison.json")
    return read_json(path, kind="compare")


def test_two_processes_share_the_work(made_run: Path, tmp_path: Path) -> None:
    pair = [start(made_run, tmp_path, methods) for methods in ("mtl,mtl-kd", "mtl-kd,linear-probe")]
    one, two = (result(process) for process in pair)
    assert one["rows"] == ["mtl", "mtl-kd"]
    assert two["rows"] == ["mtl-kd", "linear-probe"]
    started = sorted(one["started"] + two["started"])
    assert started == ["foundation", "mtl", "mtl-kd"], "nothing is trained twice"
    document = stored(tmp_path)
    assert {row["label"] for row in document["rows"]} == {"mtl", "mtl-kd", "linear-probe"}
    assert document["foundation"] is not None
    assert not list((tmp_path / "comparisons").rglob("*.training")), "nothing half-made is left"


@pytest.mark.usefixtures("tiny")
def test_a_killed_cell_goes_on_after_its_last_epoch(made_run: Path, tmp_path: Path) -> None:
    killed = start(made_run, tmp_path, "mtl", dies_after="mtl")
    end_of(killed)
    assert killed.returncode == -9
    config = load_config(made_run / "decompose.yaml", overrides=[*TINY, "train.epochs=2"])
    heard: list[Event] = []
    found = compare(config, methods=["mtl"], out=tmp_path / "comparisons", on_event=heard.append).to_json()
    assert [event.first_epoch for event in heard if isinstance(event, Started)] == [1]
    straight = compare(config, methods=["mtl"], out=tmp_path / "straight" / "comparisons").to_json()
    assert found["rows"][0]["regions"] == straight["rows"][0]["regions"]


@pytest.mark.usefixtures("tiny")
def test_a_variant_without_unlabelled_images_is_trained_as_if_there_were_none(
    made_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: dict[tuple[float, bool], set[str]] = {}
    real = cells.train_phases

    def spy(config: Config, method: Any, data: Any, *rest: Any, **places: Any) -> Any:
        seen[config.unlabelled.share, config.unlabelled.rest] = set(data.unlabelled)
        assert data.counts == {name: len(one) + len(data.unlabelled.get(name, ())) for name, one in data.train.items()}
        return real(config, method, data, *rest, **places)

    monkeypatch.setattr(cells, "train_phases", spy)
    images = np.random.default_rng(9).integers(0, 256, (8, 20, 20), dtype=np.uint8)
    np.savez(tmp_path / "more.npz", images=images)
    named = f"regions.chest.unlabelled={tmp_path / 'more.npz'}"
    config = load_config(made_run / "decompose.yaml", overrides=[*TINY, "train.epochs=1", named])
    variants = ["off:kd:unlabelled.share=0", "rest:kd:unlabelled.rest=true"]
    variants += ["none:kd:unlabelled.share=0,unlabelled.rest=true"]
    compare(config, methods=["kd"], variants=variants, fractions=[0.5], out=tmp_path / "comparisons")
    both = {"chest", "knee"}
    assert seen == {(0.5, False): {"chest"}, (0, False): set(), (0.5, True): both, (0, True): set()}


@pytest.mark.usefixtures("tiny")
def test_a_cell_of_another_process_is_left_to_it_and_read_afterwards(
    made_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(comparison, "POLL_SECONDS", 0.05)
    config: Config = load_config(made_run / "decompose.yaml", overrides=TINY)
    out = tmp_path / "comparisons"
    compare(config, methods=["mtl"], out=out)
    (cell,) = out.glob("*/cells/*")
    aside = tmp_path / "aside"
    cell.rename(aside)
    order: list[str] = []

    def finish() -> None:
        waited = time.monotonic() + 120
        while "stl-knee" not in order and time.monotonic() < waited:
            time.sleep(0.02)
        aside.rename(cell)  # also when nothing came: the comparison then ends, and the test fails instead of hanging

    def listen(event: Event) -> None:
        if isinstance(event, Started | Notice):
            order.append(event.phase if isinstance(event, Started) else event.text)

    with exclusive(cell):  # as if another process trained it, and finished once this one has nothing else to do
        other = threading.Thread(target=finish)
        other.start()
        document = compare(config, methods=["mtl", "stl"], out=out, on_event=listen).to_json()
        other.join(timeout=30)
    assert [row["label"] for row in document["rows"]] == ["mtl", "stl"]
    assert "another process trains mtl, seed 0, fraction 1: its result is read when it is finished" in order
    assert "mtl" not in order
