"""The curves of a training as TensorBoard reads them: event files, one directory a phase, written as it goes.

The records are TensorBoard's own, written here without its thread and its search for TensorFlow: a full disk is then
an error of the training like any other, nothing is printed, and what a checkpoint knows is in the file before it.
A kill leaves at most one torn record, at which readers stop; the resumed training writes a further file, whose first
record tells them to forget the steps that are done again.
"""

from __future__ import annotations

import importlib.util
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from lorkit.decompose.errors import MissingRuntimeError
from lorkit.decompose.events import Event, Finished, Listener, Started, Step, Validated

_FLUSH_S = 5.0


def check_tensorboard() -> None:
    """Refuse to begin without TensorBoard.

    Raises:
        MissingRuntimeError: It is not installed.
    """
    if importlib.util.find_spec("tensorboard") is None:
        raise MissingRuntimeError(
            "--tensorboard needs tensorboard, which is not installed",
            required="the extra 'tensorboard'",
            fix='pip install "lorkit[tensorboard]"',
        )


@contextmanager
def recording(directory: Path | None, on_event: Listener) -> Iterator[Listener]:
    """Yield a listener that tells `on_event` everything and keeps the curves of each phase under `directory`.

    Args:
        directory: Gets `<phase>/events.out.tfevents.*`; None keeps nothing.
        on_event: Hears each event once it is recorded.
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
    """A listener that writes the scalars of every phase; steps count from 0 over all epochs of a phase.

    Args:
        directory: Gets a directory a phase.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._file: _EventFile | None = None
        self._steps = 0

    def __call__(self, event: Event) -> None:
        """Record one event."""
        if isinstance(event, Started):
            self._open(event)
        elif isinstance(event, Finished):
            self.close()
        elif self._file is not None and isinstance(event, Step):
            self._file.write(_of_step(event), event.epoch * event.steps + event.step)
        elif self._file is not None and isinstance(event, Validated):
            self._file.write(_of_epoch(event.losses, event.metric, event.scores, event.mean), self._end(event.epoch))
            self._file.flush()  # the checkpoint of this epoch is written next: a resume must find the curve up to it

    def close(self) -> None:
        """Finish the file of the phase that was under way."""
        if self._file is not None:
            self._file.close()
        self._file = None

    def _open(self, started: Started) -> None:
        self.close()
        self._steps = started.steps
        place = self._directory / started.phase
        known = sorted(place.glob("events.out.tfevents.*"))
        if known and started.first_epoch >= started.epochs:
            return  # a phase that ended before the interruption
        self._file = _EventFile(place, len(known))
        if not known:  # it began without curves, or where another command left it: what its checkpoint knows
            for row in started.history:
                self._write_row(row)
        self._file.restart(started.first_epoch * started.steps)

    def _write_row(self, row: Mapping[str, Any]) -> None:
        assert self._file is not None
        scores = row["val"][row["metric"]]
        values = _of_epoch(row["loss"], row["metric"], scores, row["val"]["mean"])
        rates = {"learning_rate": row["lr"], "images_per_second": row["images_per_second"]}
        self._file.write({**values, **rates}, self._end(row["epoch"]))

    def _end(self, epoch: int) -> int:
        """Return the last step of an epoch, at which its means and its validation stand."""
        return (epoch + 1) * self._steps - 1


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
    losses: Mapping[str, Mapping[str, float]], metric: str, scores: Mapping[str, float], mean: float
) -> dict[str, float]:
    means = {f"epoch_loss/{term}/{region}": value for term, row in losses.items() for region, value in row.items()}
    measured = {f"val_{metric}/{region}": value for region, value in scores.items()}
    return {**means, **measured, f"val_{metric}/mean": mean}


class _EventFile:
    """One file of TensorBoard's records; names sort in the order of writing and hold no name of a host."""

    def __init__(self, directory: Path, number: int) -> None:
        from tensorboard.compat.proto import event_pb2, summary_pb2
        from tensorboard.summary.writer.record_writer import RecordWriter

        self._events, self._summaries = event_pb2, summary_pb2
        directory.mkdir(parents=True, exist_ok=True)
        path = directory / f"events.out.tfevents.{number:010d}.{int(time.time())}"
        self._records = RecordWriter(path.open("xb"))
        self._flushed = time.monotonic()
        self._write(file_version="brain.Event:2")

    def restart(self, step: int) -> None:
        """Tell readers to forget what earlier files hold of this step and later ones."""
        self._write(step=step, session_log=self._events.SessionLog(status=self._events.SessionLog.START))
        self.flush()

    def write(self, values: Mapping[str, float], step: int) -> None:
        """Write scalars of a step; a reader sees them within seconds."""
        found = [self._summaries.Summary.Value(tag=tag, simple_value=value) for tag, value in values.items()]
        self._write(step=step, summary=self._summaries.Summary(value=found))
        if time.monotonic() - self._flushed > _FLUSH_S:
            self.flush()

    def flush(self) -> None:
        """Hand everything to the operating system, where a kill of this process cannot reach it."""
        self._records.flush()
        self._flushed = time.monotonic()

    def close(self) -> None:
        """Flush and close."""
        self._records.close()

    def _write(self, **fields: Any) -> None:
        event = self._events.Event(wall_time=time.time(), **fields)
        self._records.write(event.SerializeToString())
