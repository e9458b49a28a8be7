from pathlib import Path

import pytest
from lightning_fabric import Fabric

from lorkit.decompose.artifacts import read_manifest, write_manifest
from lorkit.decompose.errors import UsageError
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
        place.finish(lambda staging: write_manifest(staging, "run", synthetic=False, inputs="same"))
    with open_work_directory(tmp_path / "run", FABRIC, resume=True) as place:
        assert not place.finished_elsewhere("run", "other")
        assert place.path.is_dir()
        assert place.finished_elsewhere("run", "same")
    assert [path.name for path in tmp_path.iterdir()] == ["run"]
