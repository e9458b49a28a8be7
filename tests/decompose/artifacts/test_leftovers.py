import os
import time
from pathlib import Path

import pytest

from lorkit.decompose.artifacts import exclusive, sweep, write_manifest
from lorkit.decompose.artifacts.drafts import host

DEAD = 2**22 + 1  # above the largest process id


def artifact(directory: Path) -> Path:
    directory.mkdir(parents=True)
    write_manifest(directory, "expert", synthetic=False)
    return directory


def names(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


def test_left_overs_of_artifacts_are_removed(tmp_path: Path) -> None:
    artifact(tmp_path / "x")
    artifact(tmp_path / ".x.old-7")
    (tmp_path / f".x.partial-{host()}-7" / "deep").mkdir(parents=True)
    for name in (".x.lock", f".x.json.draft-{host()}-{DEAD}-abc"):
        (tmp_path / name).touch()
    sweep(tmp_path)
    assert names(tmp_path) == ["x"]


def test_an_artifact_that_was_moved_aside_comes_back(tmp_path: Path) -> None:
    artifact(tmp_path / ".x.old-7")
    sweep(tmp_path)
    assert names(tmp_path) == ["x"]
    assert names(tmp_path / "x") == ["manifest.json"]


def test_what_other_programs_named_alike_stays(tmp_path: Path) -> None:
    """Such as a user's own copy, the lock of an editor, a draft of another host, and a store with a lock of its own."""
    (tmp_path / ".notes.old-2024").mkdir()
    (tmp_path / ".notes.old-2024" / "thesis.txt").touch()
    (tmp_path / ".x.partial-other-7").mkdir()
    for name in (".editor.lock", ".x.old-3", ".x.json.draft-other-7-abc", ".x.jsonl"):
        (tmp_path / name).touch()
    (tmp_path / ".x.lock").write_text("a database")
    artifact(tmp_path / "x")
    before = names(tmp_path)
    sweep(tmp_path)
    assert names(tmp_path) == before


def test_locks_go_where_only_lorkit_writes(tmp_path: Path) -> None:
    run = artifact(tmp_path / "run")
    places = [tmp_path / "runs", run / "experts", run / "exports" / "foundation" / "chest"]
    for place in places:
        place.mkdir(parents=True)
        (place / ".x.lock").touch()
        sweep(place)
        assert not names(place)


def test_what_a_lock_guards_stays(tmp_path: Path) -> None:
    artifact(tmp_path / "x")
    (tmp_path / f".x.partial-{host()}-7").mkdir()
    with exclusive(tmp_path / "x"):
        before = names(tmp_path)
        sweep(tmp_path)
        assert names(tmp_path) == before


@pytest.mark.parametrize(("age_s", "kept"), [(60, False), (-60, True)])
def test_checkpoints_stay_until_their_training_is_finished(tmp_path: Path, age_s: float, kept: bool) -> None:
    state = tmp_path / ".x.training" / "checkpoints" / "lorkd" / "state.json"
    state.parent.mkdir(parents=True)
    state.touch()
    sweep(tmp_path)
    assert state.exists()
    artifact(tmp_path / "x")
    os.utime(state, (time.time() - age_s,) * 2)
    sweep(tmp_path)
    assert state.exists() is kept


def test_missing_and_unreadable_directories_are_left_alone(tmp_path: Path) -> None:
    sweep(tmp_path / "missing")
    (tmp_path / "file").touch()
    sweep(tmp_path / "file")
    assert names(tmp_path) == ["file"]
