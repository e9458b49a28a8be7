from pathlib import Path

import pytest

from lorkit.decompose.artifacts import write_manifest
from lorkit.decompose.errors import BusyError
from lorkit.decompose.runs import Run
from lorkit.decompose.runs.keeping import kept


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return Run(tmp_path, write_manifest(tmp_path, "run", synthetic=True))


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (OSError(30, "Read-only file system", "/private/place"), "Read-only file system (place)"),
        (OSError(28, "No space left on device"), "No space left on device"),
        (BusyError("another process is writing x"), "another process is writing x"),
    ],
)
def test_what_cannot_be_written_is_a_warning_without_its_place(run: Run, error: Exception, reason: str) -> None:
    def write() -> None:
        raise error

    assert kept(run, write, "The verdict") == [f"The verdict was not kept in the run: {reason}."]


def test_what_is_written_is_no_warning_and_other_errors_are_errors(run: Run) -> None:
    done = list[int]()
    assert kept(run, lambda: done.append(1), "The verdict") == []
    assert done == [1]
    with pytest.raises(ZeroDivisionError):
        kept(run, lambda: 1 / 0, "The verdict")


def test_the_file_is_named_by_its_path_in_the_run(run: Run) -> None:
    def write() -> None:
        raise OSError(28, "No space left on device", str(run.measurements_dir / "gate.json"))

    named = "No space left on device (measurements/gate.json)"
    assert kept(run, write, "The verdict") == [f"The verdict was not kept in the run: {named}."]
