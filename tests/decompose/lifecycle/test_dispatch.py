"""Options of `train --from` that contradict each other."""

from __future__ import annotations

from pathlib import Path

import pytest

from lorkit.decompose.errors import ArtifactError, UsageError
from lorkit.decompose.lifecycle import train_from
from lorkit.decompose.runs import Run


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ({"source": None, "add_region": "wrist"}, "--add-region without --from"),
        ({"source": None, "remove_region": "chest"}, "--remove-region without --from"),
        ({"add_region": "wrist", "remove_region": "chest"}, "together"),
        ({"remove_region": "chest", "overrides": ["train.epochs=1"]}, "--set with --remove-region"),
        ({"remove_region": "chest", "config": "decompose.yaml"}, "a configuration with --remove-region"),
        ({"remove_region": "chest", "resume": True}, "--resume with --remove-region"),
        ({"remove_region": "chest", "tensorboard": True}, "--tensorboard with --remove-region"),
        ({}, "with method lorkd"),
        ({"source": "absent", "remove_region": "chest"}, "unknown run 'absent'"),
        ({"source": "absent", "add_region": "wrist"}, "unknown run 'absent'"),
    ],
)
def test_what_contradicts_itself_is_refused(
    small_run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: dict[str, object], message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match=message):
        train_from(**{"source": small_run.path, "out": tmp_path / "out", **words})  # type: ignore[arg-type]
    assert not (tmp_path / "out").exists()


def test_a_damaged_run_is_refused(small_run: Run, tmp_path: Path) -> None:
    (small_run.path / "splits.json").write_text("{}")
    with pytest.raises(ArtifactError, match="has changed"):
        train_from(small_run.path, remove_region="chest", out=tmp_path / "out")


def test_a_run_is_found_by_its_id(small_run: Run, tmp_path: Path) -> None:
    result = train_from("small", remove_region="chest", out=small_run.path.parent)
    assert result.run.parent == small_run.path.parent


def test_paths_in_settings_start_where_the_command_is_given(
    small_run: Run, wrist: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(wrist.parent)
    settings = ["regions.wrist.data=wrist.npz"]
    result = train_from(small_run.path, overrides=settings, add_region="wrist", out=tmp_path, dry_run=True)
    assert result.regions == ("chest", "knee", "wrist")
