import contextlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from file_operations import every_attempt

from lorkit.decompose.artifacts import directories, read_manifest, sweep, write_manifest
from lorkit.decompose.artifacts.directories import replace_directory, staged_directory
from lorkit.decompose.errors import BusyError, UsageError


def build(directory: Path, text: str) -> None:
    with staged_directory(directory) as staging:
        (staging / "a.txt").write_text(text)
        write_manifest(staging, "expert", synthetic=False)


def names(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


def test_the_finished_directory_takes_its_place(tmp_path: Path) -> None:
    build(tmp_path / "x", "one")
    build(tmp_path / "x", "two")
    assert (tmp_path / "x" / "a.txt").read_text() == "two"
    assert names(tmp_path) == ["x"]


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_a_failure_leaves_the_old_one_alone(tmp_path: Path, error: type[BaseException]) -> None:
    build(tmp_path / "x", "one")

    def fail() -> None:
        with staged_directory(tmp_path / "x") as staging:
            (staging / "a.txt").write_text("half")
            raise error

    with pytest.raises(error):
        fail()
    assert (tmp_path / "x" / "a.txt").read_text() == "one"
    assert names(tmp_path) == ["x"]


def test_a_directory_of_the_user_is_never_replaced(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years")
    with pytest.raises(UsageError, match="not a lorkit artifact"):
        build(tmp_path / "mine", "x")
    assert (tmp_path / "mine" / "thesis.txt").read_text() == "years"


def test_a_second_writer_is_refused(tmp_path: Path) -> None:
    refused = r"^another process is writing .*x; required: one writer at a time; wait for it, then retry$"
    with staged_directory(tmp_path / "x"), pytest.raises(BusyError, match=refused) as caught:
        build(tmp_path / "x", "second")
    assert caught.value.exit_code == 6
    assert not (tmp_path / "x" / "a.txt").exists()


@contextlib.contextmanager
def other_process(directory: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Another process that is in the middle of building `directory`."""
    code = (
        "import sys, time; from pathlib import Path\n"
        "from lorkit.decompose.artifacts.directories import staged_directory\n"
        "with staged_directory(Path(sys.argv[1])) as staging:\n"
        "    (staging / 'half').write_text('x'); print('in', flush=True); time.sleep(60)"
    )
    process = subprocess.Popen([sys.executable, "-c", code, str(directory)], stdout=subprocess.PIPE)
    assert process.stdout is not None
    try:
        assert process.stdout.readline() == b"in\n"
        yield process
    finally:
        process.kill()
        process.wait(timeout=30)
        process.stdout.close()


def test_what_a_killed_process_left_is_cleaned_up(tmp_path: Path) -> None:
    with other_process(tmp_path / "x"), pytest.raises(BusyError):
        build(tmp_path / "x", "second")
    assert any(".partial-" in name for name in names(tmp_path))
    build(tmp_path / "x", "whole")
    assert names(tmp_path) == ["x"]


def test_what_it_left_goes_when_anything_else_is_built_there(tmp_path: Path) -> None:
    with other_process(tmp_path / "x"):
        pass
    (left,) = (name for name in names(tmp_path) if ".partial-" in name)
    # its process id is another process's by now
    os.replace(tmp_path / left, tmp_path / f"{left.rpartition('-')[0]}-{os.getpid()}")
    (tmp_path / ".z.partial-another.host-1").mkdir()
    build(tmp_path / "y", "whole")
    assert [name for name in names(tmp_path) if not name.endswith(".lock")] == [".z.partial-another.host-1", "y"]


def test_what_a_living_process_builds_stays(tmp_path: Path) -> None:
    with other_process(tmp_path / "x"):
        before = names(tmp_path)
        build(tmp_path / "y", "whole")
        assert names(tmp_path) == [*before, "y"]
        (half,) = tmp_path.glob(".x.partial-*/half")
        assert half.is_file()


def run_with_derived(parent: Path) -> Path:
    """An old artifact into which later commands wrote; nothing else is beside it."""
    shutil.rmtree(parent, ignore_errors=True)
    build(parent / "x", "old")
    (parent / "x" / "exports" / "chest").mkdir(parents=True)
    (parent / "x" / "exports" / "chest" / "model").write_text("exported")
    (parent / "x" / "report").mkdir()
    return parent


@pytest.mark.parametrize("exchanging", [True, False])
def test_a_kill_at_any_operation_loses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, exchanging: bool
) -> None:
    """Where a system cannot exchange two directories, the old one may be gone until the next command."""
    if not exchanging:
        monkeypatch.setattr(directories, "exchange", lambda *_: False)
    parent, found = tmp_path / "runs", list[str]()
    for _, stopped in every_attempt(lambda: build(parent / "x", "new"), lambda: run_with_derived(parent)):
        assert stopped.killed
        if exchanging:
            assert read_manifest(parent / "x").kind == "expert"
        sweep(parent)
        assert names(parent) == ["x"]
        assert read_manifest(parent / "x").kind == "expert"
        assert (parent / "x" / "exports" / "chest" / "model").read_text() == "exported"
        assert names(parent / "x") == ["a.txt", "exports", "manifest.json", "report"]
        found.append((parent / "x" / "a.txt").read_text())
    assert found == sorted(found, reverse=True)  # all with the old one come first
    assert set(found) == {"old", "new"}


@pytest.mark.parametrize("exchanging", [True, False])
def test_a_full_disk_loses_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, exchanging: bool) -> None:
    if not exchanging:
        monkeypatch.setattr(directories, "exchange", lambda *_: False)
    parent = tmp_path / "runs"
    attempts = list(every_attempt(lambda: build(parent / "x", "new"), lambda: run_with_derived(parent), how="full"))
    for _, stopped in attempts:
        assert "No space left on device: '" in stopped.error
    assert names(parent) == ["x"]
    assert (parent / "x" / "a.txt").read_text() == "old"
    assert len(attempts) >= 6


def test_what_a_later_command_wrote_goes_over_unless_it_is_there(tmp_path: Path) -> None:
    old, new = tmp_path / "run", tmp_path / "new"
    for place, parts in ((old, ("experts", "exports/chest", "report", "foundation")), (new, ("report", "exports"))):
        for name in parts:
            (place / name).mkdir(parents=True)
            (place / name / place.name).touch()
    (new / "report" / "manifest.json").touch()
    replace_directory(new, old)
    assert sorted(path.relative_to(old).as_posix() for path in old.rglob("*") if path.is_file()) == [
        "experts/run",
        "exports/chest/run",
        "exports/new",
        "report/manifest.json",
        "report/new",
    ]
    assert [path.name for path in tmp_path.iterdir()] == ["run"]
