"""Write the curves of a training as TensorBoard event files, one directory per phase.

A kill leaves at most one incomplete record, at which readers stop; the resumed training writes a further file, whose
first record discards the repeated steps. Readers take the files in the order of their names. torch names a file by
time, host and process; finished files are numbered, since runs are shared.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from lorkit.decompose.errors import MissingRuntimeError
from lorkit.decompose.events import EpochRow, Event, Finished, Listener, Started, Step, Validated


def check_tensorboard() -> None:
    """Raise MissingRuntimeError if TensorBoard is not installed."""
    if importlib.util.find_spec("tensorboard") is None:
        raise MissingRuntimeError(
            "--tensorboard needs tensorboard, which is not installed",
            required="the extra 'tensorboard'",
            fix='pip install "lorkit[tensorboard]"',
        )


@contextmanager
def recording(directory: Path | None, on_event: Listener) -> Iterator[Listener]:
    """Yield a listener that passes events to `on_event` and writes the curves of each phase below `directory`.

    Args:
        directory: Directory of `<phase>/events.out.tfevents.<number>`; None writes nothing.
        on_event: Receives each event after it is recorded.
    """
    if directory is None:
        yield on_event
        return
    curves = Curves(directory)

    def told(event: Event) -> None:
        curves(event)
        on_event(event)

    try:
        yield told
    finally:
        curves.close()


class Curves:
    """A listener that writes the scalars of every phase to one directory each; steps count over all its epochs."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._writer: Any = None  # torch's SummaryWriter, which has no types
        self._place = directory  # of the current phase
        self._steps = 0

    def __call__(self, event: Event) -> None:
        """Record one event; raise OSError for errors of the writer's thread, such as a full disk."""
        if isinstance(event, Started):
            self._open(event)
        elif isinstance(event, Finished):
            self.close()
        elif self._writer is not None and isinstance(event, Step):
            self._write(_of_step(event), event.epoch * event.steps + event.step)
        elif self._writer is not None and isinstance(event, Validated):
            self._write(_of_epoch(event.losses, event.metric, event.scores, event.mean), self._end(event.epoch))
            self._writer.flush()  # before the checkpoint: a resume needs the curve up to it

    def close(self) -> None:
        """Finish the file of the current phase."""
        writer, self._writer = self._writer, None
        if writer is not None:
            writer.close()
            _number_files(self._place)

    def _open(self, started: Started) -> None:
        self.close()
        self._steps = started.steps
        self._place = self._directory / started.phase
        known = _number_files(self._place)  # a killed training left its file as torch named it
        if known and started.first_epoch >= started.epochs:
            return  # a phase that ended before the interruption
        from torch.utils.tensorboard import SummaryWriter

        self._writer = SummaryWriter(str(self._place), purge_step=started.first_epoch * started.steps)
        if not known:  # it began without curves: use its checkpoint
            for row in started.history:
                self._write_row(row)

    def _write_row(self, row: EpochRow) -> None:
        metric = row.get("metric", "")
        values = _of_epoch(row["loss"], metric, row["val"].get(metric, {}), row["val"].get("mean"))
        rates = {"learning_rate": row["lr"], "images_per_second": row["images_per_second"]}
        self._write({**values, **rates}, self._end(row["epoch"]))

    def _write(self, values: Mapping[str, float], step: int) -> None:
        for tag, value in values.items():
            self._writer.add_scalar(tag, value, step)

    def _end(self, epoch: int) -> int:
        """Return the last step of an epoch, for its means and its validation."""
        return (epoch + 1) * self._steps - 1


def _number_files(place: Path) -> int:
    """Number the event files of a phase in the order of their names, and return how many there are.

    Numbers are padded with zeros, so that they sort before torch's names by time.
    """
    files = sorted(place.glob("events.out.tfevents.*"))
    for number, file in enumerate(files):
        file.rename(place / f"events.out.tfevents.{number:06}")
    return len(files)


def _of_step(step: Step) -> dict[str, float]:
    losses = {f"loss/{term}": value for term, value in step.losses.items()}
    gpu = {} if step.cuda_mib is None else {"memory/cuda_peak_mib": step.cuda_mib}
    return {
        **losses,
        "loss/total": sum(step.losses.values()),
        "learning_rate": step.lr,
        "images_per_second": step.images_per_second,
        "memory/resident_mib": step.memory_mib,
        **gpu,
    }


def _of_epoch(
    losses: Mapping[str, Mapping[str, float]], metric: str, scores: Mapping[str, float], mean: float | None
) -> dict[str, float]:
    means = {f"epoch_loss/{term}/{region}": value for term, row in losses.items() for region, value in row.items()}
    if mean is None:
        return means
    measured = {f"val_{metric}/{region}": value for region, value in scores.items()}
    return {**means, **measured, f"val_{metric}/mean": mean}
