"""What `clean` lists and removes, and what it must not touch."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from lorkit.decompose import clean
from lorkit.decompose.artifacts import exclusive, verify_chain, write_manifest
from lorkit.decompose.artifacts.drafts import host
from lorkit.decompose.errors import UsageError
from lorkit.decompose.lifecycle import cleaning
from lorkit.decompose.runs import Run, open_run
from lorkit.decompose.training.feature_cache.store import ABOUT, space_lock

GONE = 2**22  # above any process's number


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A finished run, an interrupted one, features, and what killed processes left."""
    run = tmp_path / "runs" / "a"
    for folder in (run / "checkpoints" / "joint", tmp_path / "runs" / ".b.training" / "checkpoints" / "joint"):
        folder.mkdir(parents=True)
        (folder / "epoch-0001.pt").write_bytes(b"x" * 1000)
    (run / "config.yaml").write_text("name: a\n")
    write_manifest(run, "run", synthetic=True, outside=("checkpoints",))
    (run / "measurements").mkdir()
    (run / "measurements" / "bench.json").write_text("{}")
    (run / "measurements" / f".bench.json.draft-{host()}-{GONE}-x").write_bytes(b"y" * 7)
    partial = run / "exports" / "chest" / f".onnx.partial-{host()}-{GONE}"
    partial.mkdir(parents=True)
    (partial / "model.onnx").write_bytes(b"z" * 50)
    (tmp_path / "runs" / ".c.lock").touch()
    space = tmp_path / "foundations" / "features" / "f"
    space.mkdir(parents=True)
    (space / ABOUT).write_bytes(b"{}")
    (space / "shard.safetensors").write_bytes(b"w" * 300)
    return tmp_path


def files(place: Path) -> set[str]:
    return {
        path.relative_to(place).as_posix() for path in place.rglob("*") if path.is_file() and path.suffix != ".lock"
    }


def states(place: Path, **options: bool) -> dict[str, tuple[str, int, str]]:
    found = clean(place / "runs", **options).entries
    return {one.path.relative_to(place).as_posix(): (one.kind, one.size_bytes, one.state) for one in found}


def test_it_lists_and_changes_nothing(place: Path) -> None:
    before = files(place)
    found = states(place)
    assert found == {
        "runs/a/checkpoints": ("checkpoints", 1000, "listed"),
        "foundations/features/f": ("features", 302, "listed"),
        f"runs/a/measurements/.bench.json.draft-{host()}-{GONE}-x": ("left over", 7, "listed"),
        f"runs/a/exports/chest/.onnx.partial-{host()}-{GONE}": ("left over", 50, "listed"),
        "runs/.c.lock": ("left over", 0, "removed"),  # asking whether it is held removes it
        "runs/.b.training": ("interrupted", 1000, "kept"),
    }
    assert files(place) == before
    assert clean(place / "runs").size_bytes == 1000 + 302 + 7 + 50


def test_it_removes_what_it_lists_and_nothing_else(place: Path) -> None:
    kept = {"runs/a/config.yaml", "runs/a/manifest.json", "runs/a/measurements/bench.json"}
    assert {state for _, _, state in states(place, yes=True).values()} == {"removed", "kept"}
    assert files(place) == kept | {"runs/.b.training/checkpoints/joint/epoch-0001.pt"}
    assert states(place, yes=True, interrupted=True) == {"runs/.b.training": ("interrupted", 1000, "removed")}
    assert files(place) == kept
    assert clean(place / "runs", yes=True).entries == []


def test_what_a_running_command_uses_stays(place: Path) -> None:
    space = place / "foundations" / "features" / "f"
    locks = (exclusive(place / "runs" / "a"), exclusive(place / "runs" / "b"))
    with locks[0], locks[1], space_lock(space).read_lock():
        found = states(place, yes=True, interrupted=True)
    assert found["runs/a/checkpoints"][2] == found["foundations/features/f"][2] == "in use"
    assert "runs/.b.training" not in found
    assert {"runs/a/checkpoints/joint/epoch-0001.pt", "foundations/features/f/shard.safetensors"} <= files(place)
    assert "runs/.b.training/checkpoints/joint/epoch-0001.pt" in files(place)


def test_checkpoints_of_a_manifest_and_links_and_foreign_directories_stay(place: Path) -> None:
    shutil.rmtree(place / "runs" / "a" / "exports")
    write_manifest(place / "runs" / "a", "run", synthetic=True)  # lists the checkpoints
    other = place / "runs" / "foreign"
    (other / "checkpoints").mkdir(parents=True)
    copied = place / "runs" / "copied"
    (copied / "checkpoints").mkdir(parents=True)
    (copied / "network.txt").touch()
    write_manifest(copied, "expert", synthetic=True, outside=("checkpoints",))
    linked = place / "runs" / "linked"
    linked.mkdir()
    write_manifest(linked, "run", synthetic=True)
    (linked / "checkpoints").symlink_to(other / "checkpoints")
    assert not [name for name in states(place, yes=True) if name.endswith("checkpoints")]
    assert (linked / "checkpoints").is_symlink()
    assert (other / "checkpoints").is_dir()
    assert (copied / "checkpoints").is_dir()


def test_what_lies_beside_the_runs_is_seen_and_a_run_of_unknown_state_is_not_touched(place: Path) -> None:
    cells = place / "comparisons" / "run-1" / "cells"
    for folder in (
        cells,
        cells.parent,
        cells.parent.parent,
        place / "foundations" / "volumes",
        cells / ".hidden" / "x",
    ):
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f".a.json.draft-{host()}-{GONE}-x").write_bytes(b"v")
    (place / "runs" / "a" / "manifest.json").write_text("{")
    found = states(place, yes=True)
    beside = {"comparisons", "comparisons/run-1", "comparisons/run-1/cells", "foundations/volumes"}
    assert {Path(name).parent.as_posix() for name in found if name[0] in "cf" and "draft" in name} == beside
    assert not [name for name in found if name.startswith("runs/a")]
    assert (place / "runs" / "a" / "checkpoints" / "joint" / "epoch-0001.pt").is_file()


def test_what_cannot_be_removed_is_an_error(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path, *, ignore_errors: bool = False) -> None:
        if not ignore_errors:
            raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(cleaning.shutil, "rmtree", refuse)
    with pytest.raises(PermissionError, match="checkpoints"):
        clean(place / "runs", yes=True)


def test_a_missing_directory_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no directory of runs"):
        clean(tmp_path / "runs")


def test_a_run_is_whole_without_what_is_removed(small_run: Run) -> None:
    before, checkpoints = small_run.manifest.digest, small_run.path / "checkpoints"
    checkpoints.mkdir()
    found = clean(small_run.path.parent, yes=True).entries
    assert [one.state for one in found if one.path == checkpoints] == ["removed"]
    assert not checkpoints.exists()
    run = open_run(small_run.path)
    assert run.manifest.digest == before
    verify_chain(run.path)
