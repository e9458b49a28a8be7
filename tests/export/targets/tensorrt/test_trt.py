"""TensorRT's adapter against a fake of both API versions: what 11 removed must not be touched."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from lorkit import profiles
from lorkit.decompose.artifacts import digest_file, read_json, write_json
from lorkit.decompose.errors import ArtifactError, MissingRuntimeError, UsageError
from lorkit.export.targets.base import BuildRequest
from lorkit.export.targets.tensorrt import base, timing_cache, trt
from lorkit.export.targets.tensorrt.building import differences
from lorkit.export.targets.tensorrt.trt import TARGET

Build = Callable[..., Path]
GPU = {"name": "NVIDIA H200", "driver": "580.1", "memory_mib": 140000, "sm": "9.0"}


class Network:
    types: tuple[str, ...] = ("FLOAT",)
    num_inputs = 1

    def __init__(self, flags: int) -> None:
        self.flags = flags
        self.num_layers = len(self.types)

    def get_input(self, index: int) -> SimpleNamespace:
        return SimpleNamespace(name="image", shape=(-1, 3, 64, 64))

    def get_layer(self, index: int) -> SimpleNamespace:
        tensor = SimpleNamespace(dtype=SimpleNamespace(name=self.types[index]))
        return SimpleNamespace(type="CONVOLUTION", num_outputs=1, get_output=lambda _: tensor)


class Timing:
    def __init__(self, data: bytes) -> None:
        self.data = data

    def serialize(self) -> bytes:
        return self.data


class Config:
    """Only what both versions have: no calibrator, no precision flags."""

    def __init__(self) -> None:
        self.profiles: list[Any] = []
        self.flags: set[str] = {"TF32"}
        self.hardware_compatibility_level: str | None = None
        self.pools: dict[str, int] = {}
        self.given: list[bytes] = []

    def add_optimization_profile(self, profile: Any) -> None:
        self.profiles.append(profile)

    def set_flag(self, flag: str) -> None:
        self.flags.add(flag)

    def clear_flag(self, flag: str) -> None:
        self.flags.discard(flag)

    def set_memory_pool_limit(self, pool: str, size: int) -> None:
        self.pools[pool] = size

    def create_timing_cache(self, data: bytes) -> Timing | None:
        self.given.append(data)
        return None if data == b"of another version" else Timing(data)

    def set_timing_cache(self, cache: Timing, ignore_mismatch: bool) -> bool:
        assert not ignore_mismatch
        return cache.data != b"of another GPU"

    def get_timing_cache(self) -> Timing:
        return Timing(b"timings of this build")


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
    names = ("TF32", "VERSION_COMPATIBLE", "REFIT", "STRIP_PLAN", "REFIT_IDENTICAL")
    module.BuilderFlag = SimpleNamespace(**{name: name for name in names})  # no FP16, BF16 or INT8: 11 has none
    module.LayerType = SimpleNamespace(CONSTANT="CONSTANT")
    module.MemoryPoolType = SimpleNamespace(WORKSPACE="WORKSPACE")
    module.HardwareCompatibilityLevel = SimpleNamespace(AMPERE_PLUS="AMPERE_PLUS")
    return module  # type: ignore[no-any-return]


@pytest.fixture(params=["10.12.0.36", "11.1.0.106"])
def tensorrt(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> ModuleType:
    module = fake(request.param)
    monkeypatch.setitem(sys.modules, "tensorrt", module)
    for place in (trt, base):
        monkeypatch.setattr(place, "fingerprint", lambda: {"gpus": [GPU]})
    monkeypatch.setattr(trt, "sees_gpu", lambda: True)
    monkeypatch.setattr(Parser, "errors", ())
    monkeypatch.setattr(timing_cache, "DIRECTORY", tmp_path / "timings")
    return module


@pytest.fixture
def onnx_path(tmp_path: Path) -> Path:
    path = tmp_path / "model.onnx"
    path.write_bytes(b"graph")
    return path


@pytest.fixture
def build(build_request: Callable[..., BuildRequest]) -> Callable[..., Path]:
    def make(path: Path, *, precision: str = "fp32", profile: profiles.Profile | None = None) -> Path:
        plain = build_request(path.parent, profile="h200", shape=(3, 64, 64), precision=precision)
        return TARGET.build(dataclasses.replace(plain, profile=profile or plain.profile))

    return make


def asking(**settings: Any) -> profiles.Profile:
    h200 = profiles.load("h200")
    return h200.model_copy(update={"engine": profiles.EngineSettings(**settings)})


def test_it_builds_a_strongly_typed_engine_for_the_profile(tensorrt: ModuleType, onnx_path: Path, build: Build) -> None:
    assert TARGET.available().ok
    assert build(onnx_path).read_bytes() == b"plan"
    network, config = Builder.built
    assert config.flags == set(), "TF32 is coarser than fp32 is allowed to be"
    assert network.flags == (2 if tensorrt.__version__.startswith("10") else 0)
    batch = profiles.load("h200").batch_sizes
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
    for place in (trt, base):
        monkeypatch.setattr(place, "fingerprint", lambda: {"gpus": [GPU | {change: "other"}]})
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
    with pytest.raises(ArtifactError, match=r"exported where TensorRT is not installed.*--target trt --force"):
        TARGET.load(onnx_path.parent)


@pytest.mark.parametrize("version", ["10.11.0", "8.6.0", "12.0.0"])
def test_other_versions_are_not_available(version: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tensorrt", fake(version))
    assert not TARGET.available().ok
    assert version in TARGET.available().reason


def test_a_machine_without_gpu_is_not_available(
    tensorrt: ModuleType, onnx_path: Path, build: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    for place in (trt, base):
        monkeypatch.setattr(place, "fingerprint", lambda: {"gpus": []})
    assert TARGET.fingerprint() == ""
    with pytest.raises(MissingRuntimeError, match="no NVIDIA GPU"):
        build(onnx_path)


@pytest.mark.parametrize("precision", ["fp16", "bf16", "int8"])
def test_a_dropped_precision_is_refused(
    tensorrt: ModuleType, onnx_path: Path, build: Build, monkeypatch: pytest.MonkeyPatch, precision: str
) -> None:
    with pytest.raises(UsageError, match=rf"no tensor .*found: FLOAT.*ONNX file of precision {precision}"):
        build(onnx_path, precision=precision)
    assert not (onnx_path.parent / "model.engine").exists()
    monkeypatch.setattr(Network, "types", ("FLOAT", {"fp16": "HALF", "bf16": "BF16", "int8": "INT8"}[precision]))
    build(onnx_path, precision=precision)


def test_settings_of_the_profile_become_flags_and_stand_in_the_key(
    tensorrt: ModuleType, onnx_path: Path, build: Build
) -> None:
    profile = asking(version_compatible=True, hardware_compatible=True, strip=True, tf32=True, workspace_mib=512)
    build(onnx_path, profile=profile)
    config = Builder.built[1]
    assert config.flags == {"TF32", "VERSION_COMPATIBLE", "STRIP_PLAN", "REFIT_IDENTICAL"}
    assert config.hardware_compatibility_level == "AMPERE_PLUS"
    assert config.pools == {"WORKSPACE": 512 * 2**20}
    key = read_json(onnx_path.parent / "engine.json")
    assert key["flags"] == ["VERSION_COMPATIBLE", "STRIP_PLAN", "REFIT_IDENTICAL"]
    assert (key["profile"], key["settings"]["workspace_mib"]) == ("h200", 512)
    build(onnx_path, profile=asking(refit=True, strip=True))
    assert Builder.built[1].flags == {"REFIT", "STRIP_PLAN"}


def test_timings_are_kept_between_builds_and_damaged_ones_replaced(
    tensorrt: ModuleType, onnx_path: Path, build: Build
) -> None:
    build(onnx_path)
    assert Builder.built[1].given == [b""]
    build(onnx_path)
    assert Builder.built[1].given == [b"timings of this build"]
    (file,) = (onnx_path.parent / "timings").iterdir()
    assert file.name == f"{tensorrt.__version__}_nvidia-h200_9.0_580.1.timing"
    intact = file.read_bytes()
    file.write_bytes(intact[:-1] + b"!")
    build(onnx_path)
    assert Builder.built[1].given == [b""], "a builder must not be handed nonsense"
    assert file.read_bytes() == intact


@pytest.mark.parametrize("foreign", [b"of another version", b"of another GPU"])
def test_timings_that_the_builder_refuses_cost_time_only(
    tensorrt: ModuleType, onnx_path: Path, build: Build, foreign: bytes
) -> None:
    file = timing_cache.timing_path(TARGET.surroundings())
    timing_cache.write_timings(file, foreign)
    build(onnx_path)
    assert Builder.built[1].given == [foreign, b""]
    assert timing_cache.read_timings(file) == b"timings of this build"


def test_what_an_engine_was_built_for_is_told_when_it_changed(
    tensorrt: ModuleType, onnx_path: Path, build: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    build(onnx_path)
    directory, h200 = onnx_path.parent, profiles.load("h200")
    assert TARGET.outdated(directory, h200) == ""
    assert TARGET.outdated(directory / "nowhere", h200) == ""
    assert "another profile (h200, here h100)" in TARGET.outdated(directory, profiles.load("h100"))
    assert "REFIT" in TARGET.outdated(directory, asking(refit=True))
    wider = h200.model_copy(update={"batch_sizes": profiles.BatchRange(min=1, opt=2, max=4)})
    assert "batch_shapes" in TARGET.outdated(directory, wider)
    for place in (trt, base):
        monkeypatch.setattr(place, "fingerprint", lambda: {"gpus": [GPU | {"driver": "590.2"}]})
    assert TARGET.outdated(directory, h200) == "its engine was built for another driver (580.1, here 590.2)"
    (directory / "engine.json").write_text("{}")
    assert "is not the key of an engine" in TARGET.outdated(directory, h200)


@pytest.mark.parametrize(
    ("settings", "change", "fits"),
    [
        ({"hardware_compatible": True}, {"name": "NVIDIA L4", "sm": "8.9", "driver": "1"}, True),
        ({"hardware_compatible": True}, {"name": "NVIDIA T4", "sm": "7.5"}, False),
        ({"hardware_compatible": True}, {"version": "10.99.0"}, False),
        ({"version_compatible": True}, {"version": "10.99.0"}, True),
        ({"version_compatible": True}, {"version": "10.12.0.1", "driver": "2"}, True),
        ({"version_compatible": True}, {"sm": "8.9"}, False),
    ],
)
def test_compatible_engines_leave_open_what_they_are_compatible_with(
    settings: dict[str, bool], change: dict[str, str], fits: bool
) -> None:
    key = {"tensorrt": "10.12.0", "gpu": GPU["name"], "sm": "9.0", "driver": "580.1", "settings": settings}
    here = {"tensorrt": "10.12.0", "gpu": GPU["name"], "sm": "9.0", "driver": "580.1"}
    for name, value in change.items():
        here[{"name": "gpu", "version": "tensorrt"}.get(name, name)] = value
    assert (differences(key, trt._binding(key, here)) == "") is fits


def test_a_profile_of_another_gpu_is_refused(tensorrt: ModuleType, onnx_path: Path, build: Build) -> None:
    with pytest.raises(UsageError, match=r"profile 't4' has compute capability 7\.5, NVIDIA H200 has 9\.0"):
        build(onnx_path, profile=profiles.load("t4"))
    TARGET.require(profiles.load("h100"))


@pytest.mark.parametrize("damage", ["{", "{}", "[1]", None])
def test_a_damaged_key_is_one_line(tensorrt: ModuleType, onnx_path: Path, build: Build, damage: str | None) -> None:
    build(onnx_path)
    path = onnx_path.parent / "engine.json"
    if damage is None:
        write_json(path, read_json(path) | {"driver": "forged"})
    else:
        path.write_text(damage)
    with pytest.raises(ArtifactError) as caught:
        TARGET.load(onnx_path.parent)
    assert "\n" not in str(caught.value)


def test_beside_a_cpu_build_of_torch_it_builds_and_does_not_run(
    tensorrt: ModuleType, onnx_path: Path, build: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trt, "sees_gpu", lambda: False)
    assert build(onnx_path).is_file()
    assert (TARGET.available().ok, TARGET.available().runs) == (True, False)
    with pytest.raises(MissingRuntimeError, match=r"cannot run here: this torch sees no CUDA device.*CUDA build"):
        TARGET.load(onnx_path.parent)
