import shutil
from pathlib import Path

import pytest
from file_operations import every_attempt
from lightning_fabric import Fabric

from lorkit.decompose.artifacts import read_manifest, write_manifest
from lorkit.decompose.errors import UsageError
from lorkit.decompose.runs import list_runs
from lorkit.decompose.training.work_directory import open_work_directory, work_directory

FABRIC = Fabric(accelerator="cpu")


def interrupt(goal: Path) -> None:
    def train() -> None:
        with open_work_directory(goal, FABRIC, resume=False) as place:
            (place.checkpoints / "phase").mkdir(parents=True)
            (place.checkpoints / "phase" / "state.json").write_text("{}")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train()


def test_an_interrupted_training_wants_a_decision(tmp_path: Path) -> None:
    interrupt(tmp_path / "run")
    with (
        pytest.raises(UsageError, match=r"--resume to continue it or --force"),
        open_work_directory(tmp_path / "run", FABRIC, resume=False, hint=True),
    ):
        pass
    assert (work_directory(tmp_path / "run") / "checkpoints" / "phase" / "state.json").exists()


def test_resume_keeps_and_force_drops_the_checkpoints(tmp_path: Path) -> None:
    interrupt(tmp_path / "run")
    with open_work_directory(tmp_path / "run", FABRIC, resume=True, hint=True) as place:
        assert (place.checkpoints / "phase").exists()
    with open_work_directory(tmp_path / "run", FABRIC, resume=False, force=True, hint=True) as place:
        assert not place.checkpoints.exists()


def test_finishing_puts_the_artifact_in_place_and_cleans_up(tmp_path: Path) -> None:
    for text in ("one", "two"):
        with open_work_directory(tmp_path / "run", FABRIC, resume=False) as place:

            def write(staging: Path, text: str = text) -> None:
                (staging / "a").write_text(text)
                write_manifest(staging, "run", synthetic=False)

            place.finish(write)
    assert read_manifest(tmp_path / "run").kind == "run"
    assert (tmp_path / "run" / "a").read_text() == "two"
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


def test_what_another_process_finished_first_is_not_made_again(tmp_path: Path) -> None:
    with open_work_directory(tmp_path / "run", FABRIC, resume=True) as place:
        assert not place.finished_elsewhere("run", "same")

        def write(staging: Path) -> None:
            (staging / "config.yaml").write_text("name: a run\n")
            write_manifest(staging, "run", synthetic=False, inputs="same")

        place.finish(write)
    with open_work_directory(tmp_path / "run", FABRIC, resume=True) as place:
        assert not place.finished_elsewhere("run", "other")
        assert place.path.is_dir()
        assert place.finished_elsewhere("run", "same")
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


def test_a_kill_at_any_operation_of_a_second_training_loses_nothing(tmp_path: Path) -> None:
    """As `train --force`: the run stays visible, with all that was made from it, and nothing is left over."""
    runs = tmp_path / "runs"

    def train(text: str) -> None:
        with open_work_directory(runs / "run", FABRIC, resume=False, force=True) as place:
            (place.checkpoints / "phase").mkdir(parents=True)
            (place.checkpoints / "phase" / "state.json").write_text("{}")

            def write(staging: Path) -> None:
                (staging / "a").write_text(text)
                write_manifest(staging, "run", synthetic=False)

            place.finish(write)

    def prepare() -> Path:
        shutil.rmtree(runs, ignore_errors=True)
        train("old")
        for part in ("experts", "exports", "measurements", "report"):
            (runs / "run" / part).mkdir()
            (runs / "run" / part / "result").write_text(part)
        return runs

    texts = []
    for operation, stopped in every_attempt(lambda: train("new"), prepare):
        assert stopped.killed
        assert [path.name for path in list_runs(runs)] == ["run"]
        left = {path.name for path in runs.iterdir()} - {"run"}
        # a training that was not finished can be resumed
        assert left <= {".run.training"}, operation
        texts.append((read_manifest(runs / "run").path / "a").read_text())
        assert not left or texts[-1] == "old"
        assert {path.name for path in (runs / "run").glob("*/result")} == {"result"}
        assert len(list((runs / "run").glob("*/result"))) == 4
    assert texts == sorted(texts, reverse=True)
    assert set(texts) == {"old", "new"}
