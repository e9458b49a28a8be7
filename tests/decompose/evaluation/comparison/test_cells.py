"""Comparisons side by side and after a kill: processes of their own, as two terminals would have them."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import threading
import time
from multiprocessing.context import ForkProcess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lorkit.decompose.artifacts import exclusive, read_json
from lorkit.decompose.config import Config, load_config
from lorkit.decompose.evaluation.comparison import cells, comparison
from lorkit.decompose.evaluation.comparison.comparison import compare
from lorkit.decompose.events import Event, Notice, Saved, Started

TINY = ["foundation.backbone=tiny", "student.backbone=tiny", "train.augment=null"]
FORKS = multiprocessing.get_context("fork")


def run_compare(made_run: Path, folder: Path, methods: str, dies_after: str) -> None:
    """Compare in a directory, and write what was trained here and which rows came of it; or die after an epoch."""
    started: list[str] = []

    def listen(event: Event) -> None:
        if isinstance(event, Started):
            started.append(event.phase)
        if isinstance(event, Saved) and event.phase == dies_after:
            os.kill(os.getpid(), signal.SIGKILL)

    os.chdir(folder)
    config = load_config(made_run / "decompose.yaml", overrides=[*TINY, "train.epochs=2"])
    document = compare(config, methods=methods.split(","), on_event=listen)
    told = {"started": started, "rows": [row.label for row in document.rows]}
    (folder / f"{methods}.json").write_text(json.dumps(told), encoding="utf-8")


def start(made_run: Path, folder: Path, methods: str, dies_after: str = "") -> ForkProcess:
    """Start a comparison in a fork of this process, which has imported everything once a test above has trained."""
    process = FORKS.Process(target=run_compare, args=(made_run, folder, methods, dies_after))
    process.start()
    return process


def end_of(process: ForkProcess) -> int | None:
    """Wait for a process, and return its exit code; one that hangs is ended."""
    process.join(timeout=120)
    code = process.exitcode
    if code is None:
        process.kill()
        process.join(timeout=30)
    return code


def stored(folder: Path) -> dict[str, Any]:
    (path,) = (folder / "comparisons").glob("*/comparison.json")
    return read_json(path, kind="compare")


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


@pytest.mark.usefixtures("own_keys")
def test_two_processes_share_the_work(made_run: Path, tmp_path: Path) -> None:
    both = ("mtl,mtl-kd", "mtl-kd,linear-probe")
    pair = [start(made_run, tmp_path, methods) for methods in both]
    assert [end_of(process) for process in pair] == [0, 0]
    one, two = (json.loads((tmp_path / f"{methods}.json").read_text(encoding="utf-8")) for methods in both)
    assert one["rows"] == ["mtl", "mtl-kd"]
    assert two["rows"] == ["mtl-kd", "linear-probe"]
    started = sorted(one["started"] + two["started"])
    assert started == ["foundation", "mtl", "mtl-kd"], "nothing is trained twice"
    document = stored(tmp_path)
    assert {row["label"] for row in document["rows"]} == {"mtl", "mtl-kd", "linear-probe"}
    assert document["foundation"] is not None
    assert not list((tmp_path / "comparisons").rglob("*.training")), "nothing half-made is left"


@pytest.mark.usefixtures("tiny", "own_keys")
def test_a_killed_cell_goes_on_after_its_last_epoch(made_run: Path, tmp_path: Path) -> None:
    assert end_of(start(made_run, tmp_path, "mtl", dies_after="mtl")) == -signal.SIGKILL
    config = load_config(made_run / "decompose.yaml", overrides=[*TINY, "train.epochs=2"])
    heard: list[Event] = []
    found = compare(config, methods=["mtl"], out=tmp_path / "comparisons", on_event=heard.append).to_json()
    assert [event.first_epoch for event in heard if isinstance(event, Started)] == [1]
    straight = compare(config, methods=["mtl"], out=tmp_path / "straight" / "comparisons").to_json()
    assert found["rows"][0]["regions"] == straight["rows"][0]["regions"]
    (cell,) = (tmp_path / "comparisons").glob("*/cells/[!.]*")
    left = cell.with_name(f".{cell.name}.training")  # of a command that was killed while it cleared up
    (left / "checkpoints").mkdir(parents=True)
    compare(config, methods=["mtl"], out=tmp_path / "comparisons")
    assert not left.exists()
