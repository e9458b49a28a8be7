from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from lorkit.decompose.errors import ArtifactError
from lorkit.export.parity import in_batches
from lorkit.export.targets import get_target
from lorkit.export.targets.base import Blueprint


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


def test_the_file_is_the_engine(tmp_path: Path, blueprint: Callable[..., Blueprint]) -> None:
    target, path = get_target("onnx"), identity(tmp_path / "model.onnx", "batch")
    assert target.available().ok
    assert target.build(blueprint(tmp_path, shape=(2,))) == path
    engine = target.load(tmp_path, threads=1)
    batch = np.ones((3, 2), dtype=np.float32)
    np.testing.assert_array_equal(engine.run(batch), batch)
    assert engine.provider == "CPUExecutionProvider"


def test_a_frozen_batch_fails_in_the_runtime_with_one_line(tmp_path: Path) -> None:
    identity(tmp_path / "model.onnx", 3)
    engine = get_target("onnx").load(tmp_path)
    with pytest.raises(ArtifactError, match="free batch size") as caught:
        in_batches(engine.run, np.ones((4, 2), dtype=np.float32), 1)
    assert "\n" not in str(caught.value)


def test_a_broken_file_is_no_traceback(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(b"not a graph")
    with pytest.raises(ArtifactError, match="ONNX Runtime cannot read"):
        get_target("onnx").load(tmp_path)
    (tmp_path / "model.onnx").unlink()
    with pytest.raises(ArtifactError, match="is missing"):
        get_target("onnx").load(tmp_path)
