"""Curves for TensorBoard, read back with its own reader: what is there, after a kill too, and what is never printed."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from lorkit.decompose.errors import MissingRuntimeError
from lorkit.decompose.events import Event, Finished, Notice, Started, Step, Validated
from lorkit.decompose.training.tensorboard import Curves, check_tensorboard, recording

needs_tensorboard = pytest.mark.skipif(
    importlib.util.find_spec("tensorboard") is None, reason="the extra 'tensorboard' is not installed"
)
STEPS = 3


def step(epoch: int, number: int, *, ce: float = 0.5, cuda: float | None = None) -> Step:
    return Step(
        phase="lorkd",
        epoch=epoch,
        epochs=4,
        step=number,
        steps=STEPS,
        losses={"ce": ce, "feature_kd": 0.25},
        images_per_second=100.0,
        loader_images_per_second=900.0,
        eta_s=3.0,
        memory_mib=512.0,
        lr=0.125,
        cuda_mib=cuda,
    )


def validated(epoch: int) -> Validated:
    return Validated(
        phase="lorkd",
        epoch=epoch,
        epochs=4,
        metric="balanced_accuracy",
        scores={"chest": 0.75, "knee": 0.25},
        mean=0.5,
        best=True,
        losses={"ce": {"chest": 0.5, "knee": 1.5}},
        images_per_second=100.0,
    )


def started(first: int = 0, history: tuple[dict[str, Any], ...] = ()) -> Started:
    return Started(phase="lorkd", epochs=4, steps=STEPS, first_epoch=first, history=history)


def epochs(*numbers: int, ce: float = 0.5) -> Iterator[Event]:
    for epoch in numbers:
        yield from (step(epoch, number, ce=ce) for number in range(STEPS))
        yield validated(epoch)


def tell(curves: Curves, *events: Event) -> None:
    for event in events:
        curves(event)


def scalars(directory: Path) -> dict[str, list[tuple[int, float]]]:
    """Read a phase as TensorBoard shows it."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    reader = EventAccumulator(str(directory), size_guidance={"scalars": 0}).Reload()
    found: dict[str, list[tuple[int, float]]] = defaultdict(list)
    for tag in reader.Tags()["scalars"]:
        found[tag] = [(event.step, event.value) for event in reader.Scalars(tag)]
    return found


def row(epoch: int) -> dict[str, Any]:
    """A row of `metrics.jsonl`."""
    metric = "balanced_accuracy"
    return {
        "epoch": epoch,
        "loss": {"ce": {"chest": 2.0}},
        "metric": metric,
        "val": {metric: {"chest": 0.5}, "mean": 0.5},
        "lr": 0.5,
        "images_per_second": 50.0,
    }


@needs_tensorboard
def test_every_term_rate_and_region_has_a_curve(tmp_path: Path) -> None:
    curves = Curves(tmp_path)
    tell(curves, started(), Notice(text="nothing of it"), *epochs(0, 1), step(2, 0, cuda=2048.0))
    curves.close()
    found = scalars(tmp_path / "lorkd")
    assert found["loss/ce"] == [(number, 0.5) for number in range(7)]
    assert found["loss/feature_kd"][0] == (0, 0.25)
    assert found["loss/total"][0] == (0, 0.75)
    assert found["learning_rate"][-1] == (6, 0.125)
    assert found["images_per_second"][-1] == (6, 100.0)
    assert found["memory/resident_mib"][-1] == (6, 512.0)
    assert found["memory/cuda_peak_mib"] == [(6, 2048.0)]
    assert found["epoch_loss/ce/knee"] == [(2, 1.5), (5, 1.5)]
    assert found["val_balanced_accuracy/chest"] == [(2, 0.75), (5, 0.75)]
    assert found["val_balanced_accuracy/knee"] == [(2, 0.25), (5, 0.25)]
    assert found["val_balanced_accuracy/mean"] == [(2, 0.5), (5, 0.5)]
    assert len(found) == 12


@needs_tensorboard
def test_a_phase_that_is_not_validated_has_losses_alone(tmp_path: Path) -> None:
    bare = row(0) | {"val": {}}
    del bare["metric"]
    curves = Curves(tmp_path)
    tell(curves, started(1, (bare,)), replace(validated(1), metric="", scores={}, mean=None))
    curves.close()
    found = scalars(tmp_path / "lorkd")
    assert set(found) == {"epoch_loss/ce/chest", "epoch_loss/ce/knee", "learning_rate", "images_per_second"}
    assert found["epoch_loss/ce/chest"] == [(2, 2.0), (5, 0.5)]


@needs_tensorboard
def test_after_a_kill_the_steps_done_again_replace_the_first_ones(tmp_path: Path) -> None:
    """Killed in epoch 2 amid a record, resumed at epoch 1, whose checkpoint was the last that was written."""
    tell(killed := Curves(tmp_path), started(), *epochs(0, 1), step(2, 0))
    killed.close()
    (file,) = (tmp_path / "lorkd").iterdir()
    before = file.read_bytes()[:-7]
    file.with_name(f"events.out.tfevents.{2**31}.host.1.0").write_bytes(before)  # as torch names an unfinished file
    file.unlink()
    tell(resumed := Curves(tmp_path), started(1, (row(0),)), *epochs(1, 2, 3, ce=0.25))
    resumed(Finished(phase="lorkd", best_epoch=3, best=0.5, seconds=1.0))
    assert file.read_bytes() == before
    found = scalars(tmp_path / "lorkd")
    assert found["loss/ce"] == [(number, 0.5 if number < STEPS else 0.25) for number in range(4 * STEPS)]
    assert [number for number, _ in found["val_balanced_accuracy/chest"]] == [2, 5, 8, 11]


@needs_tensorboard
def test_names_of_finished_files_are_numbers_without_host_and_process(tmp_path: Path) -> None:
    """A training and ten resumed ones, several in a second, of which each does the second epoch again."""
    for resumed in range(11):
        tell(curves := Curves(tmp_path), started(min(resumed, 1)), *epochs(*((1,) if resumed else (0, 1)), ce=resumed))
        curves.close()
    names = sorted(path.name for path in (tmp_path / "lorkd").iterdir())
    assert names == [f"events.out.tfevents.{number:06}" for number in range(11)]
    assert scalars(tmp_path / "lorkd")["loss/ce"] == [
        (number, 0 if number < STEPS else 10) for number in range(2 * STEPS)
    ]


@needs_tensorboard
def test_an_epoch_that_a_checkpoint_follows_is_in_the_file(tmp_path: Path) -> None:
    """A kill takes what the process has not handed over: `Validated` comes before the checkpoint is written."""
    curves = Curves(tmp_path)
    tell(curves, started(), *epochs(0))
    assert scalars(tmp_path / "lorkd")["val_balanced_accuracy/mean"] == [(2, 0.5)]
    curves.close()


@needs_tensorboard
def test_a_training_that_began_without_curves_gets_those_of_its_epochs(tmp_path: Path) -> None:
    tell(curves := Curves(tmp_path), started(2, (row(0), row(1))), *epochs(2))
    curves.close()
    found = scalars(tmp_path / "lorkd")
    assert found["epoch_loss/ce/chest"] == [(2, 2.0), (5, 2.0), (8, 0.5)]
    assert found["val_balanced_accuracy/chest"] == [(2, 0.5), (5, 0.5), (8, 0.75)]
    assert found["learning_rate"] == [(2, 0.5), (5, 0.5), (6, 0.125), (7, 0.125), (8, 0.125)]


@needs_tensorboard
def test_a_phase_that_had_ended_is_left_alone(tmp_path: Path) -> None:
    tell(first := Curves(tmp_path), started(), *epochs(0, 1, 2, 3))
    first.close()
    before = scalars(tmp_path / "lorkd")
    tell(second := Curves(tmp_path), started(4, tuple(map(row, range(4)))))
    second.close()
    assert len(list((tmp_path / "lorkd").iterdir())) == 1
    assert scalars(tmp_path / "lorkd") == before


@needs_tensorboard
def test_phases_have_directories_of_their_own_and_the_listener_hears_all(tmp_path: Path) -> None:
    heard: list[Event] = []
    told = (started(), *epochs(0), Started(phase="rd-chest", epochs=1, steps=1))
    with recording(tmp_path, heard.append) as listener:
        for event in told:
            listener(event)
    assert tuple(heard) == told
    assert sorted(path.name for path in tmp_path.iterdir()) == ["lorkd", "rd-chest"]
    with recording(None, heard.append) as listener:
        assert listener == heard.append


FULL_DISK = """
import resource, sys
from pathlib import Path
import lorkit.decompose
from lorkit.cli.main import main
from lorkit.decompose.training.tensorboard import recording
from lorkit.decompose.events import Started, Validated

def train(config, *, on_event, **options):
    with recording(Path("curves"), on_event) as tell:
        tell(Started(phase="lorkd", epochs=99, steps=1))
        for epoch in range(99):
            tell(Validated(phase="lorkd", epoch=epoch, epochs=99, metric="dice", scores={}, mean=0.5, best=False))
            resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
    print("trained to the end", file=sys.stderr)

lorkit.decompose.train = train
sys.argv = ["decompose", "train", "--tensorboard"]
main()
"""


@needs_tensorboard
def test_a_full_disk_ends_training_with_one_line_although_a_thread_writes(tmp_path: Path) -> None:
    command = [sys.executable, "-c", FULL_DISK]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False)
    *_, last = done.stderr.splitlines()
    assert (done.returncode, done.stdout) == (6, "")
    assert last.startswith("error: File too large; required: a file system that can be read and written")
    known = ("no decompose.yaml here: ", "lorkd ", "lorkd: ", "error: ")
    assert not [line for line in done.stderr.splitlines() if not line.startswith(known)]
    assert (tmp_path / "curves" / "lorkd").is_dir()


def test_without_the_extra_one_line_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingRuntimeError, match=r'the extra .tensorboard.; pip install "lorkit\[tensorboard\]"$'):
        check_tensorboard()
