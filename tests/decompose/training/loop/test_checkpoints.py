from pathlib import Path

import pytest
import torch

from lorkit.decompose.errors import ArtifactError
from lorkit.decompose.training.loop.checkpoints import Checkpoints, Progress


def saved(directory: Path) -> Checkpoints:
    checkpoints = Checkpoints(directory)
    first = Progress(epochs_done=1, best_epoch=0, best=0.5, history=[{"epoch": 0}])
    checkpoints.save({"x": torch.ones(2), "module": {"w": torch.ones(1)}}, first)
    second = Progress(epochs_done=2, best_epoch=0, best=0.5, history=[{"epoch": 0}, {"epoch": 1}])
    checkpoints.save({"x": torch.zeros(2), "module": {"w": torch.zeros(1)}}, second)
    return checkpoints


def test_newest_state_and_best_network_come_back(tmp_path: Path) -> None:
    checkpoints = saved(tmp_path / "c")
    state, progress = checkpoints.load()
    assert torch.equal(state["x"], torch.zeros(2))
    assert (progress.epochs_done, progress.best_epoch) == (2, 0)
    assert torch.equal(checkpoints.load_best()["w"], torch.ones(1))


def test_only_the_newest_and_the_best_are_kept(tmp_path: Path) -> None:
    checkpoints = saved(tmp_path / "c")
    assert sorted(path.name for path in (tmp_path / "c").iterdir()) == ["epoch-0001.pt", "epoch-0002.pt", "state.json"]
    third = Progress(epochs_done=3, best_epoch=2, best=0.6, history=[{}, {}, {}])
    checkpoints.save({"module": {"w": torch.full((1,), 3.0)}}, third)
    assert sorted(path.name for path in (tmp_path / "c").iterdir()) == ["epoch-0003.pt", "state.json"]
    assert checkpoints.load_best()["w"].item() == 3.0


@pytest.mark.parametrize("damage", ["flip", "truncate", "remove"])
def test_a_damaged_checkpoint_is_refused(tmp_path: Path, damage: str) -> None:
    checkpoints = saved(tmp_path / "c")
    path = tmp_path / "c" / "epoch-0002.pt"
    data = path.read_bytes()
    path.unlink()
    if damage != "remove":
        path.write_bytes(data[:-10] if damage == "truncate" else data[:50] + b"!" + data[51:])
    with pytest.raises(ArtifactError, match=r"epoch-0002\.pt.*remove"):
        checkpoints.load()


@pytest.mark.parametrize("damage", ["flip", "remove"])
def test_a_damaged_best_network_is_refused(tmp_path: Path, damage: str) -> None:
    checkpoints = saved(tmp_path / "c")
    path = tmp_path / "c" / "epoch-0001.pt"
    data = path.read_bytes()
    path.unlink()
    if damage == "flip":
        path.write_bytes(data[:50] + b"!" + data[51:])
    with pytest.raises(ArtifactError, match=r"epoch-0001\.pt.*remove"):
        checkpoints.load_best()


def test_a_checkpoint_that_would_run_code_is_refused(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path / "c")

    class Evil:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return (print, ("gotcha",))

    checkpoints.save({"x": Evil()}, Progress(epochs_done=1, best_epoch=0))
    with pytest.raises(ArtifactError, match="cannot be read"):
        checkpoints.load()


def test_what_a_killed_process_was_writing_is_removed(tmp_path: Path) -> None:
    checkpoints = saved(tmp_path / "c")
    torn = [tmp_path / "c" / ".epoch-0002.pt.abc", tmp_path / "c" / ".state.json.abc"]
    for path in torn:
        path.write_bytes(b"half")
    checkpoints.save({"module": {}}, Progress(epochs_done=3, best_epoch=0))
    assert not any(path.exists() for path in torn)
