"""What every command that makes a run does alike: plan, find again, train, and tell of an interruption."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from lorkit.decompose.artifacts.keys import DirectoryKey
from lorkit.decompose.config import default_config
from lorkit.decompose.documents.training import Plan
from lorkit.decompose.events import Event, Finished, Listener, Notice
from lorkit.decompose.regions import Region, RegionSet
from lorkit.decompose.runs import open_run
from lorkit.decompose.runs.live_model import build_model
from lorkit.decompose.runs.writing import RunContent
from lorkit.decompose.training.new_run import TrainableRun, TrainedRun, Training, make_run
from lorkit.decompose.training.work_directory import WorkDirectory, work_directory

CONFIG = default_config(overrides=["regions={a: {data: x}}", "student.backbone=tiny", "name=new"], method="mtl")
PLAN: Any = {"method": "mtl"}


@dataclass(frozen=True, kw_only=True)
class Drawn(TrainableRun):
    """A run whose training writes down that it happened."""

    heard: list[object] = field(default_factory=list)
    error: BaseException | None = None

    def plan(self, foundations: Path) -> Plan:
        self.heard.append(foundations)
        plan: Plan = PLAN
        return plan

    def begin(self, foundations: Path) -> Training:
        self.heard.append("begin")
        return self._train

    def _train(self, fabric: Any, work: WorkDirectory, on_event: Listener) -> TrainedRun:
        self.heard.append(work.path.name)
        on_event(Notice(text="here"))
        if self.error is not None:
            raise self.error
        row: Any = {"phase": "mtl", "epoch": 0, "loss": {}, "val": {}}
        ends = [Finished(phase=name, best_epoch=0, best=0.5, seconds=2.0, history=(row,)) for name in ("one", "two")]
        content = RunContent(
            config=self.config,
            regions=self.regions,
            splits={
                "schema_version": 1,
                "kind": "splits",
                "regions": {"a": {"train": [], "val": [], "test": []}},
                "labels": {"a": dict.fromkeys(("train", "val", "test"), 64 * "0")},
            },
            live=build_model(self.config, self.regions),
            foundation=None,
            rows=[row],
            synthetic=False,
            inputs=self.inputs,
        )
        return TrainedRun(content, tuple(ends))


def drawn(**options: Any) -> Drawn:
    regions, key = RegionSet([Region(name="a", classes=("x", "y"))]), DirectoryKey(Path("runs"))
    return Drawn(config=CONFIG, regions=regions, inputs="0" * 64, key=key, **options)


@pytest.mark.usefixtures("tiny")
def test_a_run_is_planned_then_trained_then_found_again(tmp_path: Path) -> None:
    new, out = drawn(), tmp_path / "runs"
    planned = make_run(new, out=out, dry_run=True)
    assert (planned.plan, planned.regions) == (PLAN, ("a",))
    assert new.heard == [tmp_path / "foundations"]
    assert not out.exists()
    told: list[Event] = []
    made = make_run(new, out=out, on_event=told.append)
    assert (made.run, made.best, made.seconds) == (planned.run, {"one": 0.5, "two": 0.5}, 4.0)
    assert (made.run.name, new.heard[1:]) == ("new-mtl-00000000", ["begin", ".new-mtl-00000000.training"])
    assert told == [Notice(text="here")]
    assert open_run(made.run).metrics
    assert not work_directory(made.run).exists()
    assert make_run(new, out=out).up_to_date
    assert len(new.heard) == 3, "nothing was trained"
    assert not make_run(new, out=out, force=True).up_to_date
    assert len(new.heard) == 5


@pytest.mark.usefixtures("tiny")
def test_an_interruption_says_how_to_go_on_and_leaves_no_run(tmp_path: Path) -> None:
    told: list[Event] = []
    with pytest.raises(KeyboardInterrupt):
        make_run(drawn(error=KeyboardInterrupt()), out=tmp_path / "runs", on_event=told.append)
    assert "--resume continues after them" in str(told[-1])
    assert not (tmp_path / "runs" / "new-mtl-00000000").exists()
