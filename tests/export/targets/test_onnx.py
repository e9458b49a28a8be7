from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from lorkit import profiles
from lorkit.decompose.artifacts import read_json
from lorkit.decompose.errors import ArtifactError, MissingRuntimeError
from lorkit.export.runtime.parity import infer_all
from lorkit.export.targets import get_target
from lorkit.export.targets import onnx as onnx_target
from lorkit.export.targets.base import BuildRequest


def identity(path: Path, batch: int | str) -> Path:
    shape = [batch, 2]
    graph = helper.make_graph(
        [helper.make_node("Identity", ["image"], ["logits"])],
        "test",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, shape)],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10), path)
    return path


def test_the_file_is_the_engine(tmp_path: Path, build_request: Callable[..., BuildRequest]) -> None:
    target, path = get_target("onnx"), identity(tmp_path / "model.onnx", "batch")
    assert target.available().ok
    assert target.build(build_request(tmp_path, shape=(2,))) == path
    engine = target.load(tmp_path, threads=1)
    batch = np.ones((3, 2), dtype=np.float32)
    np.testing.assert_array_equal(engine.run(batch), batch)
    assert engine.provider == "CPUExecutionProvider"


def test_a_frozen_batch_fails_in_the_runtime_with_one_line(tmp_path: Path) -> None:
    identity(tmp_path / "model.onnx", 3)
    engine = get_target("onnx").load(tmp_path)
    with pytest.raises(ArtifactError, match="free batch size") as caught:
        infer_all(engine.infer, {"image": np.ones((4, 2), dtype=np.float32)}, 1)
    assert "\n" not in str(caught.value)


def test_a_broken_file_is_no_traceback(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(b"not a graph")
    with pytest.raises(ArtifactError, match="ONNX Runtime cannot read"):
        get_target("onnx").load(tmp_path)
    (tmp_path / "model.onnx").unlink()
    with pytest.raises(ArtifactError, match="is missing"):
        get_target("onnx").load(tmp_path)


@pytest.fixture
def with_gpu(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A machine that says that it has a GPU, and the providers that its ONNX Runtime claims."""
    claimed = ["CUDAExecutionProvider", "CPUExecutionProvider"]
    monkeypatch.setattr(onnx_target, "fingerprint", lambda: {"gpus": [{"name": "NVIDIA H200"}]})
    monkeypatch.setattr("onnxruntime.get_available_providers", lambda: claimed)
    return claimed


def test_a_gpu_profile_wants_a_gpu_and_is_exported_without_one(
    tmp_path: Path, build_request: Callable[..., BuildRequest]
) -> None:
    target, profile = get_target("onnx"), profiles.load("h200")
    availability = target.available(profile)
    assert (availability.ok, availability.runs) == (True, False)
    assert "GPU" in availability.cannot_run_because
    assert "onnxruntime-gpu" in availability.install
    target.build(build_request(tmp_path, profile="h200"))
    assert read_json(tmp_path / "engine.json")["provider"] == "CUDAExecutionProvider"
    with pytest.raises(MissingRuntimeError, match="this onnxruntime has no CUDAExecutionProvider"):
        target.load(tmp_path)


def test_onnx_runtimes_silent_way_back_to_the_cpu_is_an_error(
    tmp_path: Path, build_request: Callable[..., BuildRequest], with_gpu: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The runtime here has no CUDA: asked for it, it warns and takes the CPU."""
    target = get_target("onnx")
    assert target.available(profiles.load("h200")).runs
    target.build(build_request(tmp_path, profile="h200"))
    monkeypatch.setattr(onnx_target, "session_options", lambda *_: None)  # without what forbids single nodes to go back
    with (
        pytest.warns(UserWarning, match="CUDAExecutionProvider"),
        pytest.raises(MissingRuntimeError, match="chose CPU"),
    ):
        target.load(tmp_path)


def test_the_tensorrt_provider_is_a_setting_of_the_profile(with_gpu: list[str]) -> None:
    profile = profiles.load("h200")
    other = profile.model_copy(update={"engine": profile.engine.model_copy(update={"provider": "tensorrt"})})
    assert "no TensorrtExecutionProvider" in get_target("onnx").available(other).cannot_run_because
    with_gpu.append("TensorrtExecutionProvider")
    assert get_target("onnx").available(other).runs


def test_an_unknown_provider_is_refused(tmp_path: Path, build_request: Callable[..., BuildRequest]) -> None:
    target = get_target("onnx")
    target.build(build_request(tmp_path))
    (tmp_path / "engine.json").write_text('{"provider": "../evil"}')
    with pytest.raises(ArtifactError, match=r"names the provider '../evil'"):
        target.load(tmp_path)


@pytest.mark.parametrize(("given", "spins"), [("passive", "0"), ("active", "1")])
def test_threads_sleep_between_layers_unless_the_user_says_otherwise(
    given: str, spins: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LORKIT_ENGINE_WAIT", given)
    options = onnx_target.session_options(2, onnx_target.PROVIDER)
    assert options.get_session_config_entry("session.intra_op.allow_spinning") == spins
