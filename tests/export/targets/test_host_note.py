from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from lorkit import profiles
from lorkit.decompose.artifacts import digest_file, write_json
from lorkit.decompose.errors import ArtifactError
from lorkit.export.targets import get_target, host_note
from lorkit.export.targets.base import Availability, BuildRequest, Engine
from lorkit.export.targets.host_note import NOTE, EngineRequirements, HostTarget, share, unsupported


class SomeTarget(HostTarget[EngineRequirements]):
    name, precisions, files = "some", {"fp32": "fp32"}, ("model.bin",)
    requirements = EngineRequirements

    def available(self, profile: profiles.Profile | None = None) -> Availability:
        raise NotImplementedError

    def build(self, request: BuildRequest) -> Path:
        raise NotImplementedError

    def load(self, directory: Path, *, threads: int | None = None) -> Engine:
        raise NotImplementedError


TARGET = SomeTarget()


@pytest.fixture
def engine(tmp_path: Path) -> Path:
    (tmp_path / "model.bin").write_bytes(b"weights")
    request: Any = SimpleNamespace(directory=tmp_path, precision="fp32")
    TARGET.write_note(request)
    return tmp_path


@pytest.mark.parametrize("target", ["openvino", "aoti"])
def test_a_profile_of_another_cpu_is_not_available(target: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host_note, "fingerprint", lambda: {"flags": ["avx2", "avx512_vnni"]})
    if not get_target(target).available().ok:
        pytest.skip(get_target(target).available().reason)
    assert get_target(target).available(profiles.load("cpu-avx512-vnni")).ok
    found = get_target(target).available(profiles.load("cpu-amx"))
    assert not found.ok
    assert found.reason.startswith("this CPU lacks avx512_bf16, amx_bf16, amx_int8, which profile 'cpu-amx'")
    assert "decompose profiles detect" in found.install


def test_no_profile_and_a_gpu_ask_nothing_of_the_cpu() -> None:
    assert unsupported(None) is None
    assert unsupported(profiles.load("h100")) is None


def test_a_note_comes_back(engine: Path) -> None:
    assert TARGET.read_note(engine).files == {"model.bin": digest_file(engine / "model.bin")}


@pytest.mark.parametrize("content", ["", "[1]", "{}", '{"target": 3, "precision": "fp32", "files": {}}', '{"a": NaN'])
def test_a_note_that_is_none_is_one_line(engine: Path, content: str) -> None:
    (engine / NOTE).write_text(content)
    with pytest.raises(ArtifactError, match=r"engine\.json") as caught:
        TARGET.read_note(engine)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("files", [{}, {"../model.bin": "0"}, {"model.bin": "0", "more": "0"}])
def test_a_note_names_the_engines_files_and_no_others(engine: Path, files: dict[str, Any]) -> None:
    write_json(engine / NOTE, {"target": "some", "precision": "fp32", "files": files})
    with pytest.raises(ArtifactError, match=r"files model\.bin"):
        TARGET.read_note(engine)


def test_a_changed_file_is_found(engine: Path) -> None:
    (engine / "model.bin").write_bytes(b"other weights")
    with pytest.raises(ArtifactError, match=r"model\.bin is not the file that was built.*--target some --force"):
        TARGET.read_note(engine)


def test_shares_of_layers() -> None:
    assert share({"u8": 2, "i8": 1, "f32": 1}, ("u8", "i8")) == 0.75
    assert share({}, ("u8",)) == 0.0
