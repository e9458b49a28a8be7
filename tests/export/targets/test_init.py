from __future__ import annotations

import pytest

from lorkit.decompose.errors import UsageError
from lorkit.export.targets import TARGETS, get_target, missing


def test_each_module_is_a_target() -> None:
    assert list(TARGETS) == [
        "aoti",
        "monai",
        "onnx",
        "onnx-adapters",
        "openvino",
        "torch-trt",
        "triton",
        "trt",
        "trt-rtx",
    ]
    for name, target in TARGETS.items():
        assert target.name == name
        assert "fp32" in target.precisions
        assert target.available().ok or (target.available().reason and target.available().install)


def test_an_unknown_target_is_answered_with_the_known() -> None:
    with pytest.raises(UsageError, match=r"unknown target 'tflite'.*onnx, .*trt"):
        get_target("tflite")


def test_what_is_missing_is_one_line_with_the_way_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "tensorrt", None)
    error = missing(get_target("trt"))
    assert error.exit_code == 5
    assert "pip install" in str(error)
    assert "\n" not in str(error)
