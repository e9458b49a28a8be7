"""Compiled code of another machine is not loaded unless the user asks for it."""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from resealing import seal_manifest

from lorkit.cli.main import run_command_line
from lorkit.decompose.artifacts import digest_file, digest_json, read_json, write_json
from lorkit.decompose.artifacts.keys import KEY_FILE, DirectoryKey
from lorkit.decompose.errors import ArtifactError
from lorkit.export import trust_native
from lorkit.export.benchmarking import footprint
from lorkit.export.runtime import native_code
from lorkit.export.runtime.agreement import engine_bytes
from lorkit.export.runtime.engine import load_engine
from lorkit.export.runtime.native_code import RECORD, native_trusted, record_build, require_trusted
from lorkit.export.targets import TARGETS
from lorkit.export.targets.base import Engine
from lorkit.export.targets.tensorrt.building import ENGINE, KEY

pytestmark = pytest.mark.usefixtures("own_keys")

AOTI = TARGETS["aoti"]


@pytest.fixture
def built(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package that this machine built, in a run."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(native_code, "_machine", lambda: "this machine")
    directory = tmp_path / "runs" / "one" / "exports" / "chest" / "aoti"
    directory.mkdir(parents=True)
    (directory / AOTI.native[0]).write_bytes(b"code")
    record_build(AOTI, directory, tmp_path / "runs")
    return directory


def check(directory: Path, target: Any = AOTI) -> None:
    require_trusted(target, directory, {name: digest_file(directory / name) for name in target.native})


def test_the_targets_with_code_of_their_author() -> None:
    assert {name for name, target in TARGETS.items() if target.native} == {"aoti", "torch-trt"}


def test_what_this_machine_built_is_loaded_also_after_a_move(built: Path, tmp_path: Path) -> None:
    check(built)
    assert stat.S_IMODE((tmp_path / "runs" / KEY_FILE).stat().st_mode) == 0o600
    (tmp_path / "runs" / "one").rename(tmp_path / "runs" / "two")
    check(tmp_path / "runs" / "two" / "exports" / "chest" / "aoti")
    check(shutil.copytree(tmp_path / "runs" / "two" / "exports" / "chest" / "aoti", tmp_path / "copy"))


def test_everything_else_is_refused(
    built: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    refused = pytest.raises(ArtifactError, match=r"model\.pt2 is compiled code, and this machine did not build it")
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    monkeypatch.chdir(elsewhere)
    with refused:  # a copy without the key
        check(shutil.copytree(built, elsewhere / "copy"))
    with monkeypatch.context() as patch, refused:  # the whole directory of runs, with its key, of another machine
        patch.setattr(native_code, "_machine", lambda: "another machine")
        check(built)
    record = read_json(built / RECORD)
    for forged in ({}, {"built": None}, {"built": 1}, {"built": "ü"}, {"built": record["built"][:-1] + "x"}):
        write_json(built / RECORD, {"schema_version": 1, "kind": "native"} | forged)
        with refused:
            check(built)
    write_json(built / RECORD, record)
    (built / AOTI.native[0]).write_bytes(b"other code")
    with refused:
        check(built)
    (built / RECORD).unlink()
    with refused:
        check(built)
    with trust_native():
        check(built)
    check(built, TARGETS["onnx"])


def forged(export: Path, home: Path, mode: int = 0o600) -> Path:
    """Give an export of another user a record with a key that came with it, for this machine."""
    (home / KEY_FILE).write_text("ab" * 32 + "\n", encoding="ascii")
    (home / KEY_FILE).chmod(mode)
    files = {name: digest_file(export / name) for name in AOTI.native}
    write_json(export / RECORD, read_json(export / RECORD) | {"built": native_code._record(DirectoryKey(home), files)})
    return export


def test_a_key_that_came_with_the_package_counts_for_nothing(
    built: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    refused = pytest.raises(ArtifactError, match="this machine did not build it")
    theirs, mine = (tmp_path_factory.mktemp(name) for name in ("theirs", "mine"))
    forged(shutil.copytree(built, theirs / "export"), theirs)
    with refused:  # an archive that was made on a machine of the same identity, as containers have it
        check(shutil.copytree(theirs, mine / "unpacked") / "export")
    check(theirs / "export")
    with monkeypatch.context() as patch, refused:  # a directory of another user of the machine
        patch.setattr(native_code.os, "geteuid", lambda: os.getuid() + 1)
        check(theirs / "export")
    for mode in (0o640, 0o604, 0o620):
        with refused:
            check(forged(theirs / "export", theirs, mode))
    (theirs / KEY_FILE).unlink()
    (theirs / KEY_FILE).mkdir(mode=0o700)
    with refused:
        check(theirs / "export")


def test_an_engine_that_contains_its_runtime_is_code_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("trt", "trt-rtx"):
        directory, target = tmp_path / name, TARGETS[name]
        directory.mkdir()
        (directory / ENGINE).write_bytes(b"plan")
        for contains in (False, True):
            key = {"schema_version": 1, "batch_shapes": [[1], [1], [1]], "settings": {"version_compatible": contains}}
            write_json(directory / KEY, key | {"key": digest_json(key)})
            assert target.code_in(directory) == ((ENGINE,) if contains else ())
        files = {ENGINE: digest_file(directory / ENGINE)}
        with pytest.raises(ArtifactError, match=r"model\.engine is compiled code"):
            require_trusted(target, directory, files)
        with trust_native():
            require_trusted(target, directory, files)
        record_build(target, directory, None)
        require_trusted(target, directory, files)


def test_consent_ends_with_its_block() -> None:
    def fail() -> None:
        assert native_trusted()
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError), trust_native():
        fail()
    assert not native_trusted()


def test_engines_without_code_have_no_record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    record_build(TARGETS["onnx"], tmp_path, None)
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def foreign(make_export: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> Path:
    """An export whose package another machine built; `loaded` beside it tells whether its code ran."""
    path = make_export("foreign")
    (path / AOTI.native[0]).write_bytes(b"code")
    changes = {"target": "aoti", "size_bytes": engine_bytes(path / "model.onnx")}
    write_json(path / "export.json", read_json(path / "export.json") | changes)
    manifest = read_json(path / "manifest.json")
    names = [*manifest["files"], AOTI.native[0]]
    manifest["files"] = {name: digest_file(path / name) for name in names}
    manifest["extra"]["target"] = "aoti"
    write_json(path / "manifest.json", manifest)
    seal_manifest(path)

    class Native(Engine):
        def infer(self, inputs: Any) -> Any:
            return {"logits": np.zeros((len(inputs["image"]), 2), np.float32)}

    def load(*_: object, **__: object) -> Engine:
        (path.parent / "loaded").touch()
        return Native(object(), "CPUExecutionProvider")

    monkeypatch.setattr(type(AOTI), "load", load)
    return path


def test_an_engine_of_another_machine_does_not_run(foreign: Path) -> None:
    with pytest.raises(ArtifactError, match="--trust-native"):
        load_engine(foreign)
    assert not (foreign.parent / "loaded").exists()
    with trust_native(), load_engine(foreign) as engine:
        assert engine.run(np.zeros((1, 1, 16, 16), np.float32)).shape == (1, 2)


@pytest.mark.parametrize("verb", ["predict", "bench"])
def test_commands_take_the_option(verb: str, foreign: Path, tmp_path: Path, capsys: Any) -> None:
    from PIL import Image

    Image.new("L", (16, 16)).save(tmp_path / "picture.png")
    words = [verb, str(foreign)]
    words += [str(tmp_path / "picture.png"), "--allow-synthetic"] if verb == "predict" else ["--max-seconds", "0.1"]
    assert run_command_line(words) == 4
    assert "this machine did not build it" in capsys.readouterr().err
    assert not (foreign.parent / "loaded").exists()
    assert run_command_line([*words, "--trust-native"]) == 0
    assert (foreign.parent / "loaded").exists()
    assert not native_trusted()


def test_the_process_that_measures_memory_asks_too(foreign: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    monkeypatch.setattr(footprint, "wait_for_turn", lambda: None)
    assert footprint.main([str(foreign), "1", "1"]) == 4
    assert footprint.main([str(foreign), "1", "1", native_code.OPTION]) == 0
