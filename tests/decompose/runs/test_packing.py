"""An archive of a run: what it holds, what stays at home, and that the unpacked run is whole."""

from __future__ import annotations

import os
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from lorkit.decompose.artifacts import digest_file, read_manifest, write_manifest
from lorkit.decompose.artifacts.keys import KEY_FILE
from lorkit.decompose.artifacts.manifest import verify_chain
from lorkit.decompose.config import RegionConfig
from lorkit.decompose.errors import ArtifactError, UsageError
from lorkit.decompose.evaluation.evaluation import evaluate
from lorkit.decompose.extraction.extraction import extract
from lorkit.decompose.runs import Run, list_runs
from lorkit.decompose.runs.packing import pack


def add(path: Path, text: str = "x") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def unpack(archive: Path, folder: Path) -> None:
    folder.mkdir(parents=True)
    with tarfile.open(archive) as opened:
        opened.extractall(folder, filter="data")  # refuses links that lead outside, devices and absolute names


def test_the_unpacked_run_is_whole(small_run: Run, tmp_path: Path) -> None:
    (expert,) = extract(small_run.path, region="chest")
    export = small_run.exports_dir / "chest" / "onnx-here-fp32"
    add(export / "model.onnx")
    write_manifest(export, "export", synthetic=True, parent=read_manifest(expert.path))
    packed = pack(small_run.path, out=tmp_path / "out" / "run.tar")
    assert packed.sha256 == digest_file(packed.archive)
    unpack(packed.archive, tmp_path / "there" / "runs")
    (there,) = list_runs(tmp_path / "there" / "runs")
    assert there.name == small_run.id
    kinds = [one.kind for one in verify_chain(there / "exports" / "chest" / "onnx-here-fp32", kind="export")]
    assert kinds == ["export", "expert", "run"]
    scores = [evaluate(path, region="chest").regions["chest"] for path in (small_run.path, there)]
    assert scores[0] == scores[1]


def test_checkpoints_keys_and_second_foundations_stay_at_home(small_run: Run, tmp_path: Path) -> None:
    home = small_run.path
    add(home.parent / KEY_FILE, "secret")
    for name in (
        KEY_FILE,
        f"experts/{KEY_FILE}",
        ".x.training/a",
        "checkpoints/lorkd/e.pt",
        "exports/foundation/chest/m",
    ):
        add(home / name, "secret")
    add(home / "exports" / "student" / "chest" / "m")
    packed = pack(home, out=tmp_path / "run.tar")
    with tarfile.open(packed.archive) as opened:
        names = opened.getnames()
        assert all(entry.isreg() and entry.uid == entry.gid == 0 and not entry.uname for entry in opened)
    assert all(name.startswith(f"{small_run.id}/") and ".." not in name.split("/") for name in names)
    assert f"{small_run.id}/exports/student/chest/m" in names
    assert b"secret" not in packed.archive.read_bytes()
    assert {name: one.file_count for name, one in packed.left_out.items()} == {
        "checkpoints": 1,
        "exports/foundation": 1,
    }
    assert packed.file_count == len(names)


def test_the_same_run_is_the_same_archive(small_run: Run, tmp_path: Path) -> None:
    first = pack(small_run.path, out=tmp_path / "a.tar")
    os.utime(small_run.path / "config.yaml", (0, 0))
    assert pack(small_run.path, out=tmp_path / "b.tar").sha256 == first.sha256


def test_nothing_is_replaced_unasked(
    small_run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make_run: Callable[..., Run]
) -> None:
    monkeypatch.chdir(tmp_path)
    archive = Path(f"{small_run.id}.tar")
    archive.write_text("mine")
    with pytest.raises(UsageError, match="exists"):
        pack(small_run.path)
    assert archive.read_text() == "mine"
    assert pack(small_run.path, force=True).archive == archive
    with pytest.raises(UsageError, match="in the run"):
        pack(small_run.path, out=small_run.path / "run.tar")


def test_links_and_damage_are_refused(small_run: Run, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("secret")
    (small_run.path / "notes").symlink_to(secret)
    with pytest.raises(ArtifactError, match="is a link"):
        pack(small_run.path, out=tmp_path / "run.tar")
    (small_run.path / "notes").unlink()
    (small_run.path / "folder").symlink_to(tmp_path, target_is_directory=True)
    with pytest.raises(ArtifactError, match="is a link"):
        pack(small_run.path, out=tmp_path / "run.tar")
    (small_run.path / "folder").unlink()
    (small_run.path / "config.yaml").write_text("changed")
    with pytest.raises(ArtifactError, match="has changed"):
        pack(small_run.path, out=tmp_path / "run.tar")
    assert not list(tmp_path.glob("*.tar"))
    assert not list(tmp_path.glob(".*.tar*"))


def test_paths_of_data_in_the_archive_are_said(small_run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = small_run.config
    chest = RegionConfig(train="/data/of/a/ward", val="x", test="y")
    regions = {"brain": RegionConfig(data="phantom:brain"), "chest": chest}
    monkeypatch.setattr(Run, "config", config.model_copy(update={"regions": regions}))
    (text,) = pack(small_run.path, out=tmp_path / "run.tar").warnings
    assert text == "config.yaml in the archive has the paths of the data of chest on this machine"
    monkeypatch.setattr(Run, "config", config.model_copy(update={"regions": {"brain": regions["brain"]}}))
    assert pack(small_run.path, out=tmp_path / "other.tar").warnings == []
