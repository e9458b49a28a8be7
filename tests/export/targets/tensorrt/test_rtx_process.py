"""The building process by itself, on graphs written by hand: what it leaves behind is all that anybody reads."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from lorkit.decompose.artifacts import read_json
from lorkit.export.targets.tensorrt.building import EngineSpec

pytest.importorskip("tensorrt_rtx", reason="needs the extra tensorrt-rtx")
SHAPES = [[1, 1, 8, 8], [2, 1, 8, 8], [4, 1, 8, 8]]


def write_graph(path: Path, *, quantize: tuple[str, ...]) -> None:
    """Write one convolution whose `image` and `weight` are stored as int8 where `quantize` names them."""
    nodes, weights = [], []

    def add(name: str, value: np.ndarray[Any, Any]) -> str:
        weights.append(numpy_helper.from_array(value, name))
        return name

    scale, zero = add("scale", np.float32(0.1)), add("zero", np.int8(0))
    names = {"image": "image", "weight": "weight"}
    values = np.ones((2, 1, 3, 3), dtype=np.int8 if "weight" in quantize else np.float32)
    add("weight", values)
    if "image" in quantize:
        nodes.append(helper.make_node("QuantizeLinear", ["image", scale, zero], ["image_q"]))
        names["image"] = "image_q"
    for name in quantize:
        nodes.append(helper.make_node("DequantizeLinear", [names[name], scale, zero], [f"{name}_d"]))
        names[name] = f"{name}_d"
    nodes.append(helper.make_node("Conv", [names["image"], names["weight"]], ["logits"]))
    image = helper.make_tensor_value_info("image", TensorProto.FLOAT, ["batch", 1, 8, 8])
    logits = helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", 2, 6, 6])
    graph = helper.make_graph(nodes, "test", [image], [logits], initializer=weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, path)


def run(folder: Path, precision: str) -> dict[str, Any]:
    spec = EngineSpec(onnx=str(folder / "model.onnx"), precision=precision, shapes=SHAPES, capability="8.9")
    (folder / "spec.json").write_text(json.dumps(asdict(spec)))
    command = [
        sys.executable,
        "-m",
        "lorkit.export.targets.tensorrt.rtx_process",
        str(folder / "spec.json"),
        str(folder),
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return read_json(folder / "result.json")


def test_it_leaves_an_engine(tmp_path: Path) -> None:
    write_graph(tmp_path / "model.onnx", quantize=("image", "weight"))
    assert run(tmp_path, "int8") == {"error": None}
    assert (tmp_path / "model.engine").read_bytes()[:4] == b"vtrt"


def test_stored_int8_alone_is_no_int8_network(tmp_path: Path) -> None:
    """Weights that are small on disk and computed in fp32 are not what int8 promises."""
    write_graph(tmp_path / "model.onnx", quantize=("weight",))
    error = run(tmp_path, "int8")["error"]
    assert error["given"] == "no tensor of the parsed network is of type INT8 (found: FLOAT)"
    assert not (tmp_path / "model.engine").exists()


def test_a_refusal_is_left_in_its_three_parts(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(b"no graph")
    error = run(tmp_path, "fp32")["error"]
    assert error["given"].startswith("TensorRT-RTX's parser refuses model.onnx")
    assert error["required"] == "operators that it supports"
    assert error["fix"]
