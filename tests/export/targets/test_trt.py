"""TensorRT's adapter against a fake of both API versions: what 11 removed must not be touched."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from lorkit import profiles
from lorkit.decompose.artifacts import digest_file, read_json
from lorkit.decompose.errors import ArtifactError, MissingRuntimeError, UsageError
from lorkit.export.targets import trt
from lorkit.export.targets.base import Blueprint
from lorkit.export.targets.trt import TARGET

Build = Callable[[Path], Path]
GPU = {"name": "NVIDIA H200", "driver": "580.1", "memory_mib": 140000, "sm": "9.0"}


class Network:
    def __init__(self, flags: int) -> None:
        self.flags = flags

    def get_input(self, index: int) -> SimpleNamespace:
        return SimpleNamespace(name="image")


class Config:
    """Only what both versions have: no set_flag, no calibrator."""

    def __init__(self) -> None:
        self.profiles: list[Any] = []

    def add_optimization_profile(self, profile: Any) -> None:
        self.profiles.append(profile)


class Ranges:
    def set_shape(self, name: str, smallest: Any, tuned: Any, largest: Any) -> None:
        self.shapes = (name, smallest, tuned, largest)


class Builder:
    built: Any = None

    def __init__(self, logger: Any) -> None: ...

    def create_network(self, flags: int) -> Network:
        return Network(flags)

    def create_builder_config(self) -> Config:
        return Config()

    def create_optimization_profile(self) -> Ranges:
        return Ranges()

    def build_serialized_network(self, network: Network, config: Config) -> bytes | None:
        Builder.built = (network, config)
        return b"plan"


class Parser:
    errors: tuple[str, ...] = ()

    def __init__(self, network: Network, logger: Any) -> None: ...

    def parse_from_file(self, path: str) -> bool:
        assert Path(path).is_file()
        return not self.errors

    @property
    def num_errors(self) -> int:
        return len(self.errors)

    def get_error(self, index: int) -> SimpleNamespace:
        return SimpleNamespace(desc=lambda: self.errors[index])


class Logger:
    ERROR = 1

    def __init__(self, level: int) -> None: ...


def fake(version: str) -> ModuleType:
    module: Any = ModuleType("tensorrt")
    flags = {"STRONGLY_TYPED": 1} if version.startswith("10") else {}
    module.__version__ = version
    module.Logger, module.Builder, module.OnnxParser = Logger, Builder, Parser
    module.NetworkDefinitionCreationFlag = SimpleNamespace(**flags)
    module.BuilderFlag = SimpleNamespace()
    return module  # type: ignore[no-any-return]


@pytest.fixture(params=["10.12.0.36", "11.1.0.106"])
def tensorrt(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    module = fake(request.param)
    monkeypatch.setitem(sys.modules, "tensorrt", module)
    monkeypatch.setattr(trt, "fingerprint", lambda: {"gpus": [GPU]})
    monkeypatch.setattr(Parser, "errors", ())
    return module


@pytest.fixture
def onnx_path(tmp_path: Path) -> Path:
    path = tmp_path / "model.onnx"
    path.write_bytes(b"graph")
    return path


@pytest.fixture
def build(blueprint: Callable[..., Blueprint]) -> Build:
    return lambda path: TARGET.build(blueprint(path.parent, profile="h200", shape=(3, 64, 64)))


def test_it_builds_a_strongly_typed_engine_for_the_profile(tensorrt: ModuleType, onnx_path: Path, build: Build) -> None:
    assert TARGET.available().ok
    assert build(onnx_path).read_bytes() == b"plan"
    network, config = Builder.built
    assert network.flags == (2 if tensorrt.__version__.startswith("10") else 0)
    batch = profiles.load("h200").batch
    assert config.profiles[0].shapes == ("image", *((n, 3, 64, 64) for n in (batch.min, batch.opt, batch.max)))


def test_the_key_names_all_that_an_engine_depends_on(tensorrt: ModuleType, onnx_path: Path, build: Build) -> None:
    build(onnx_path)
    key = read_json(onnx_path.parent / "engine.json")
    assert key["onnx"] == digest_file(onnx_path)
    assert (key["tensorrt"], key["gpu"], key["sm"], key["driver"]) == (
        tensorrt.__version__,
        GPU["name"],
        "9.0",
        "580.1",
    )
    assert len(key["key"]) == 64


@pytest.mark.parametrize("change", ["name", "driver", "sm"])
def test_an_engine_of_another_machine_is_refused(
    tensorrt: ModuleType, onnx_path: Path, build: Build, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    build(onnx_path)
    before = TARGET.fingerprint()
    monkeypatch.setattr(trt, "fingerprint", lambda: {"gpus": [GPU | {change: "other"}]})
    assert TARGET.fingerprint() != before
    with pytest.raises(ArtifactError, match=r"was built for another .*--force"):
        TARGET.load(onnx_path.parent)


def test_the_parsers_own_words_reach_the_user(
    tensorrt: ModuleType, onnx_path: Path, build: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Parser, "errors", ("node 3: no importer for Foo",))
    with pytest.raises(UsageError, match="no importer for Foo"):
        build(onnx_path)
    assert not (onnx_path.parent / "model.engine").exists()


def test_a_failed_build_is_an_error(
    tensorrt: ModuleType, onnx_path: Path, build: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Builder, "build_serialized_network", lambda self, network, config: None)
    with pytest.raises(UsageError, match="built no engine"):
        build(onnx_path)


def test_a_directory_without_engine_says_how_to_get_one(tensorrt: ModuleType, onnx_path: Path, build: Build) -> None:
    with pytest.raises(ArtifactError, match=r"exported where TensorRT is absent.*--target trt --force"):
        TARGET.load(onnx_path.parent)


@pytest.mark.parametrize("version", ["10.11.0", "8.6.0", "12.0.0"])
def test_other_versions_are_not_available(version: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tensorrt", fake(version))
    assert not TARGET.available().ok
    assert version in TARGET.available().reason


def test_a_machine_without_gpu_is_not_available(
    tensorrt: ModuleType, onnx_path: Path, build: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trt, "fingerprint", lambda: {"gpus": []})
    assert TARGET.fingerprint() == ""
    with pytest.raises(MissingRuntimeError, match="no NVIDIA GPU"):
        build(onnx_path)
