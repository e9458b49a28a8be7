"""Files of weights are judged before they are digested; each refusal leaves the bulk of the file unread."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from lorkit.decompose.artifacts import digest_file, files, weights
from lorkit.decompose.artifacts.manifest import check_files, read_manifest, write_manifest
from lorkit.decompose.artifacts.weights import check_weights, digest_weights, is_cut
from lorkit.decompose.config.student import StudentConfig, student_weights_digest
from lorkit.decompose.errors import ArtifactError
from lorkit.decompose.training.foundation import pretraining

TENSORS = {"a": torch.arange(12.0).reshape(3, 4), "b": torch.ones(2)}
HOLE = 12 << 30


@pytest.fixture
def unread(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have a digest fail the test: 12 GiB would take half a minute."""

    def fail(*_: object) -> None:
        pytest.fail("the whole file is read")

    monkeypatch.setattr(files.hashlib, "file_digest", fail)
    monkeypatch.setattr(weights, "available_bytes", lambda: 1 << 40)


def zeros(path: Path) -> None:
    path.write_bytes(b"")
    os.truncate(path, HOLE)


def longer(path: Path) -> None:
    save_file(TENSORS, path)
    os.truncate(path, HOLE)


HOSTILE: dict[str, tuple[str, Callable[[Path], None], str]] = {
    "zeros": ("w.safetensors", zeros, "states a header of 0 bytes"),
    "longer": ("w.safetensors", longer, f"it has {HOLE} bytes, its header states"),
    "no-json": ("w.safetensors", lambda path: path.write_bytes(b"\x08" + bytes(7) + b"notjson!"), "JSONDecodeError"),
    "header-of-others": ("w.safetensors", lambda path: path.write_bytes(b"\x02" + bytes(7) + b"[]"), "AttributeError"),
    "torch-zeros": ("w.pth", zeros, "begins as no torch file"),
    "pipe": ("w.pth", os.mkfifo, "is a pipe"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_it_is_refused_before_it_is_read(name: str, tmp_path: Path, unread: None) -> None:
    file, write, message = HOSTILE[name]
    write(tmp_path / file)
    with pytest.raises(ArtifactError, match=message):
        digest_weights(tmp_path / file)


@pytest.mark.parametrize("place", ["w.safetensors", "w.pth"])
def test_foundation_and_student_are_judged_first(place: str, tmp_path: Path, unread: None) -> None:
    zeros(tmp_path / place)
    with pytest.raises(ArtifactError, match="cannot be read"):
        student_weights_digest(StudentConfig(weights=str(tmp_path / place)))
    with pytest.raises(ArtifactError, match="cannot be read"):
        pretraining._weights_digest(tmp_path / place)


def test_more_than_memory_is_refused(tmp_path: Path, unread: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(weights, "available_bytes", lambda: 100)
    monkeypatch.setattr(weights, "_SMALL_BYTES", 0)
    save_file(TENSORS, tmp_path / "w.safetensors")
    torch.save(TENSORS, tmp_path / "w.pth")
    for path in tmp_path.iterdir():
        with pytest.raises(ArtifactError, match=r"GiB; required: at most the .* GiB of memory that are free"):
            check_weights(path)


def test_intact_files_have_their_digest(tmp_path: Path) -> None:
    save_file(TENSORS, tmp_path / "w.safetensors", metadata={"one": "two"})
    torch.save(TENSORS, tmp_path / "w.pth")
    torch.save(TENSORS, tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    save_file({}, tmp_path / "empty.safetensors")
    for path in tmp_path.iterdir():
        assert digest_weights(path) == digest_file(path)
        assert not is_cut(path)


def test_weights_of_an_artifact_that_have_another_size_are_refused_unread(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_file(TENSORS, tmp_path / "model.safetensors")
    write_manifest(tmp_path, "foundation", synthetic=True)
    manifest = read_manifest(tmp_path)
    os.truncate(tmp_path / "model.safetensors", HOLE)
    monkeypatch.setattr(weights, "available_bytes", lambda: 1 << 40)
    monkeypatch.setattr(files.hashlib, "file_digest", lambda *_: pytest.fail("the whole file is read"))
    with pytest.raises(ArtifactError, match="has changed since it was written"):
        check_files(manifest)


def test_a_missing_file_is_left_to_its_reader(tmp_path: Path) -> None:
    check_weights(tmp_path / "w.pth")
