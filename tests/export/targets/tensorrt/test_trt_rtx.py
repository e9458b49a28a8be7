"""TensorRT-RTX for real where its wheels are installed: engines are built here, but run only on an RTX GPU."""

from __future__ import annotations

import dataclasses
import json
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import onnx
import pytest

from lorkit import profiles
from lorkit.cli.main import run_command_line
from lorkit.decompose.artifacts import digest_file, read_json, read_manifest
from lorkit.decompose.errors import ArtifactError, MissingRuntimeError, ParityError, UsageError
from lorkit.decompose.events import Event
from lorkit.decompose.machine import fingerprint
from lorkit.export.building import builder as building
from lorkit.export.building import job
from lorkit.export.building.exporting import export
from lorkit.export.targets import missing
from lorkit.export.targets.base import BuildRequest, SingleEngine
from lorkit.export.targets.tensorrt import trt_rtx
from lorkit.export.targets.tensorrt.building import EngineSpec
from lorkit.export.targets.tensorrt.trt_rtx import TARGET

Make = Callable[..., BuildRequest]
ADA = profiles.load("rtx-ada")
GPU = {"name": "NVIDIA RTX 4090", "driver": "580.1", "memory_mib": 24000, "sm": "8.9"}


@pytest.fixture(scope="module", autouse=True)
def engines_built_once() -> Iterator[None]:
    """Build the same file with the same settings once: tests of what surrounds an engine take the one that is known."""
    build, known = trt_rtx._build_apart, {}

    def once(spec: EngineSpec) -> bytes:
        settings = repr(dataclasses.replace(spec, onnx=""))
        key = trt_rtx.COMMAND, settings, Path(spec.onnx).read_bytes()
        if key not in known:
            known[key] = build(spec)
        return known[key]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(trt_rtx, "_build_apart", once)
        yield


@pytest.fixture
def installed() -> ModuleType:
    return pytest.importorskip("tensorrt_rtx", reason="needs the extra tensorrt-rtx")  # type: ignore[no-any-return]


@pytest.fixture
def no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trt_rtx, "fingerprint", lambda: {"gpus": []})


def child(monkeypatch: pytest.MonkeyPatch, code: str) -> None:
    """Replace the building process; `code` sees `argv`, and `main` builds."""
    head = "import os, signal, sys; from lorkit.export.targets.tensorrt.rtx_process import main; argv = sys.argv[1:]\n"
    monkeypatch.setattr(trt_rtx, "COMMAND", (sys.executable, "-c", head + code))


@pytest.mark.parametrize("precision", ["fp32", "fp16", "bf16", "int8"])
def test_an_engine_of_each_precision_is_built_without_a_gpu(
    installed: ModuleType, tmp_path: Path, build_request: Make, lowered: Callable[[Path, str], None], precision: str
) -> None:
    plain = build_request(tmp_path, precision=precision, profile="rtx-ada")
    lowered(tmp_path, precision)
    path = TARGET.build(plain)
    assert path == tmp_path / "model.engine"
    assert path.read_bytes()[:4] == b"vtrt"
    assert path.stat().st_size > 100_000
    key = read_json(tmp_path / "engine.json")
    assert key["onnx"] == digest_file(tmp_path / "model.onnx")
    assert key["tensorrt_rtx"] == installed.__version__
    assert key["compute_capability"] == "8.9"
    assert key["batch_shapes"] == [
        [n, 1, 16, 16] for n in (ADA.batch_sizes.min, ADA.batch_sizes.opt, ADA.batch_sizes.max)
    ]
    assert (key["profile"], key["flags"]) == ("rtx-ada", [])
    assert TARGET.outdated(tmp_path, ADA) == ""


def test_engines_of_two_capabilities_differ(installed: ModuleType, tmp_path: Path, build_request: Make) -> None:
    built = []
    for name in ("rtx-ada", "a10"):
        (tmp_path / name).mkdir()
        built.append(TARGET.build(build_request(tmp_path / name, profile=name)).read_bytes())
    assert built[0] != built[1]
    assert "compute_capability (8.6, here 8.9), profile (a10" in TARGET.outdated(tmp_path / "a10", ADA)
    assert [[name in plan for name in (b"sm89", b"sm86")] for plan in built] == [[True, False], [False, True]]


def test_the_builders_own_words_reach_the_user(installed: ModuleType, tmp_path: Path, build_request: Make) -> None:
    """Turing multiplies no fp32 matrices in TensorRT-RTX, which only its builder knows."""
    with pytest.raises(UsageError, match=r"built no engine.*SM75.*FP32 GEMM is not supported") as caught:
        TARGET.build(build_request(tmp_path, profile="t4"))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("precision", ["fp16", "bf16", "int8"])
def test_a_file_of_another_precision_is_refused(
    installed: ModuleType, tmp_path: Path, build_request: Make, precision: str
) -> None:
    with pytest.raises(UsageError, match=rf"no tensor of the parsed network.*file of precision {precision}"):
        TARGET.build(build_request(tmp_path, precision=precision, profile="rtx-ada"))
    assert not (tmp_path / "model.engine").exists()


def test_the_parsers_own_words_reach_the_user(installed: ModuleType, tmp_path: Path, build_request: Make) -> None:
    plain = build_request(tmp_path, profile="rtx-ada")
    model = onnx.load(tmp_path / "model.onnx")
    next(node for node in model.graph.node if node.op_type == "Relu").op_type = "Bogus"
    onnx.save(model, tmp_path / "model.onnx")
    with pytest.raises(UsageError, match=r"parser refuses model.onnx: .*Bogus") as caught:
        TARGET.build(plain)
    assert "\n" not in str(caught.value)
    (tmp_path / "model.onnx").write_bytes(b"no graph")
    with pytest.raises(UsageError, match=r"parser refuses model.onnx: .*[Pp]arse"):
        TARGET.build(plain)


def test_int8_as_cpus_take_it_is_refused_by_the_parser(
    installed: ModuleType, tmp_path: Path, build_request: Make, lowered: Callable[..., None]
) -> None:
    """Unsigned activations and a quantised bias: why this target asks for `symmetric` files."""
    assert TARGET.quantization == "symmetric"
    plain = build_request(tmp_path, precision="int8", profile="rtx-ada")
    lowered(tmp_path, "int8", symmetric=False)
    with pytest.raises(UsageError, match=r"parser refuses model\.onnx: DequantizeLinear: .*Int32") as caught:
        TARGET.build(plain)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 500


def test_a_crash_after_the_engine_loses_nothing(
    installed: ModuleType, tmp_path: Path, build_request: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    child(monkeypatch, "main(argv); os.kill(os.getpid(), signal.SIGSEGV)")
    path = TARGET.build(build_request(tmp_path, profile="rtx-ada"))
    assert path.read_bytes()[:4] == b"vtrt"


def test_a_crash_before_the_engine_is_one_line(
    installed: ModuleType, tmp_path: Path, build_request: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = build_request(tmp_path, profile="rtx-ada")
    child(monkeypatch, "print('[TRT] [E] out of luck\\nbye', flush=True); os.kill(os.getpid(), signal.SIGSEGV)")
    with pytest.raises(ArtifactError, match=r"without an engine \(signal SIGSEGV, out of luck\)") as caught:
        TARGET.build(plain)
    assert "\n" not in str(caught.value)
    child(monkeypatch, "sys.exit(9)")
    with pytest.raises(ArtifactError, match=r"exit status 9"):
        TARGET.build(plain)
    child(monkeypatch, "import time; time.sleep(60)")
    monkeypatch.setattr(trt_rtx, "TIMEOUT_SECONDS", 0.5)
    with pytest.raises(ArtifactError, match="built no engine in"):
        TARGET.build(plain)
    assert not (tmp_path / "model.engine").exists()


def test_settings_reach_the_builder(
    installed: ModuleType, no_gpu: None, tmp_path: Path, build_request: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Seen from outside: without a GPU the builder finishes no refittable engine, and says so."""
    refit = ADA.model_copy(update={"engine": profiles.EngineSettings(refit=True)})
    plain = dataclasses.replace(build_request(tmp_path, profile="rtx-ada"), profile=refit)
    if not fingerprint()["gpus"]:
        with pytest.raises(UsageError, match=r"built no engine.*REFIT.*engine settings of the profile"):
            TARGET.build(plain)
    seen = []
    monkeypatch.setattr(trt_rtx, "_build_apart", lambda spec: seen.append(spec) or b"plan")
    TARGET.build(plain)
    assert (seen[0].settings["refit"], seen[0].capability, seen[0].precision) == (True, "8.9", "fp32")
    assert read_json(tmp_path / "engine.json")["flags"] == ["REFIT"]


@pytest.mark.parametrize(("name", "says"), [("h100", "compute capability 9.0"), ("cpu-generic", "a cpu without one")])
def test_other_hardware_is_refused(tmp_path: Path, build_request: Make, name: str, says: str) -> None:
    with pytest.raises(UsageError, match=rf"profile '{name}' is {says}; required: .*8\.9.*--profile rtx-ada"):
        TARGET.require(profiles.load(name))
    if TARGET.available().ok:
        with pytest.raises(UsageError, match=says):
            TARGET.build(build_request(tmp_path, profile=name))


def test_compatible_engines_are_not_to_be_had() -> None:
    profile = ADA.model_copy(update={"engine": profiles.EngineSettings(version_compatible=True)})
    with pytest.raises(UsageError, match=r"engine\.version_compatible.*--target trt"):
        TARGET.require(profile)


def test_without_a_gpu_it_builds_and_does_not_run(
    installed: ModuleType, no_gpu: None, tmp_path: Path, build_request: Make
) -> None:
    state = TARGET.available(ADA)
    assert (state.ok, state.runs, state.reason) == (True, False, "")
    assert "nvidia-smi" in state.cannot_run_because
    assert len(TARGET.fingerprint()) == 64
    error = missing(TARGET)
    assert error.exit_code == 5
    assert str(error).startswith("target 'trt-rtx' cannot run here: nvidia-smi finds no NVIDIA GPU")
    with pytest.raises(MissingRuntimeError, match="cannot run here"):
        TARGET.load(tmp_path)


@pytest.mark.parametrize(("capability", "runs"), [("8.9", True), ("12.0", False), ("9.0", False)])
def test_a_gpu_runs_what_is_built_for_its_capability(
    installed: ModuleType, monkeypatch: pytest.MonkeyPatch, capability: str, runs: bool
) -> None:
    monkeypatch.setattr(trt_rtx, "fingerprint", lambda: {"gpus": [GPU | {"sm": capability}]})
    monkeypatch.setattr(trt_rtx, "sees_gpu", lambda: True)
    assert TARGET.available(ADA).runs is runs
    assert TARGET.available().runs is (capability != "9.0")
    monkeypatch.setattr(trt_rtx, "sees_gpu", lambda: False)
    assert not TARGET.available(ADA).runs


def test_an_engine_for_another_gpu_or_runtime_is_refused(
    installed: ModuleType, tmp_path: Path, build_request: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    TARGET.build(build_request(tmp_path, profile="rtx-ada"))
    monkeypatch.setattr(trt_rtx, "sees_gpu", lambda: True)
    monkeypatch.setattr(trt_rtx, "fingerprint", lambda: {"gpus": [GPU | {"sm": "12.0"}]})
    with pytest.raises(ArtifactError, match=r"for another compute_capability \(8\.9, here 12\.0\)"):
        TARGET.load(tmp_path)
    monkeypatch.setattr(trt_rtx, "fingerprint", lambda: {"gpus": [GPU]})
    monkeypatch.setattr(trt_rtx.TrtRtxTarget, "surroundings", lambda self: {"tensorrt_rtx": "1.8.0"})
    with pytest.raises(ArtifactError, match=r"another tensorrt_rtx .*here 1\.8\.0"):
        TARGET.load(tmp_path)
    assert "tensorrt_rtx" in TARGET.outdated(tmp_path, ADA)
    (tmp_path / "engine.json").write_text("{")
    with pytest.raises(ArtifactError, match="is not JSON"):
        TARGET.load(tmp_path)
    (tmp_path / "model.engine").unlink()
    with pytest.raises(ArtifactError, match=r"has no model\.engine"):
        TARGET.load(tmp_path)


def test_without_the_runtime_it_says_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tensorrt_rtx", None)
    state = TARGET.available(ADA)
    assert (state.ok, state.runs) == (False, False)
    assert state.install == "pip install 'lorkit[tensorrt-rtx]'"
    assert TARGET.fingerprint() == ""
    assert trt_rtx._capabilities() == trt_rtx.CAPABILITIES
    with pytest.raises(MissingRuntimeError, match=r"TensorRT-RTX is not installed.*pip install"):
        TARGET.load(tmp_path)


def test_capabilities_are_the_runtimes_own(monkeypatch: pytest.MonkeyPatch) -> None:
    names = {"NONE": 0, "CURRENT": 1, "SM89": 2, "SM120": 3}
    fake: Any = SimpleNamespace(ComputeCapability=SimpleNamespace(__members__=names))
    monkeypatch.setitem(sys.modules, "tensorrt_rtx", fake)
    assert trt_rtx._capabilities() == ("8.9", "12.0")


def test_the_key_is_plain_json(installed: ModuleType, tmp_path: Path, build_request: Make) -> None:
    TARGET.build(build_request(tmp_path, profile="rtx-ada"))
    text = (tmp_path / "engine.json").read_text()
    assert str(tmp_path) not in text
    assert json.loads(text)["key"]


@pytest.fixture
def expert(extracted: Path, tmp_path: Path) -> Path:
    """A copy of the chest expert, away from its run."""
    return Path(shutil.copytree(extracted / "experts" / "chest", tmp_path / "elsewhere"))


def test_an_export_without_a_gpu_is_complete_but_unproven(
    installed: ModuleType, no_gpu: None, expert: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Exit 0 with the default profile; what needs the engine to run is exit 5."""
    monkeypatch.setattr(job, "fingerprint", lambda: {"gpus": [], "flags": []})
    (result,) = export(expert, target="trt-rtx").exports
    assert result.path.name == "trt-rtx-rtx-ada-fp32"
    assert result.parity.to_json() == {"status": "not_run", "reason": "nvidia-smi finds no NVIDIA GPU"}
    assert result.size_bytes == (result.path / "model.engine").stat().st_size > 100_000
    info = read_json(result.path / "export.json", kind="export")
    assert (info["engine_file"], info["provider"]) == ("model.engine", None)
    read_manifest(result.path, kind="export")
    assert [again.up_to_date for again in export(expert, target="trt-rtx").exports] == [True]
    for verb in ("verify", "bench"):
        assert run_command_line([verb, str(result.path)]) == 5
    monkeypatch.setattr(trt_rtx.TrtRtxTarget, "surroundings", lambda self: {"tensorrt_rtx": "1.8.0"})
    said: list[Event] = []
    (rebuilt,) = export(expert, target="trt-rtx", on_event=said.append).exports
    assert not rebuilt.up_to_date
    assert "is built again: its engine was built for another tensorrt_rtx (1." in str(said)


@pytest.mark.parametrize("precision", ["fp16", "bf16", "int8"])
def test_a_run_is_exported_in_every_precision(
    installed: ModuleType, no_gpu: None, extracted: Path, tmp_path: Path, precision: str
) -> None:
    """The files that lorkit itself lowers are of the kind that this parser takes."""
    copy = Path(shutil.copytree(extracted, tmp_path / "runs" / "small"))
    (result,) = export(
        copy, region="chest", target="trt-rtx", profile="rtx-ada", precision=precision, owners=("expert",)
    ).exports
    assert result.path.name == f"trt-rtx-rtx-ada-{precision}"
    assert (result.path / "model.engine").read_bytes()[:4] == b"vtrt"
    assert result.parity.status == "not_run"


def test_where_it_can_run_an_unproven_export_is_made_again_and_proven(
    installed: ModuleType, no_gpu: None, expert: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a machine with the GPU; the proof itself is played here, and fails first."""
    (unproven,) = export(expert, target="trt-rtx", profile="rtx-ada").exports
    monkeypatch.setattr(trt_rtx, "fingerprint", lambda: {"gpus": [GPU]})
    monkeypatch.setattr(trt_rtx, "sees_gpu", lambda: True)

    class Wrong(SingleEngine):
        def __init__(self, *arguments: Any, **options: Any) -> None:
            super().__init__(None, "TensorRT-RTX")

        def run(self, batch: Any) -> Any:
            return np.zeros((len(batch), 2), np.float32)

    monkeypatch.setattr(trt_rtx, "TensorrtEngine", Wrong)
    with pytest.raises(ParityError, match="the trt-rtx engine of region 'chest'"):
        export(expert, target="trt-rtx", profile="rtx-ada")
    monkeypatch.setattr(building, "require_parity", lambda parity, name: None)
    (proven,) = export(expert, target="trt-rtx", profile="rtx-ada").exports
    assert (unproven.parity.status, proven.up_to_date) == ("not_run", False)
    assert read_json(proven.path / "export.json")["provider"] == "TensorRT-RTX"


def test_hardware_that_it_does_not_build_for_is_refused_before_anything_is_made(expert: Path) -> None:
    for name in ("h100", "cpu-generic"):
        assert run_command_line(["export", str(expert), "--target", "trt-rtx", "--profile", name]) == 2
    assert not (expert / "exports").exists()


def test_a_gate_over_engines_that_cannot_run_is_inconclusive(
    installed: ModuleType, no_gpu: None, extracted: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    copy = Path(shutil.copytree(extracted, tmp_path / "runs" / "small"))
    export(copy, region="chest", target="trt-rtx", profile="rtx-ada", owners=("expert", "foundation"))
    assert run_command_line(["gate", "--run", str(copy), "--target", "trt-rtx", "--max-seconds", "5", "--json"]) == 3
    assert json.loads(capsys.readouterr().out)["verdict"] == "inconclusive"
