"""What both TensorRT targets share, without a runtime; its real parser and builder run in test_rtx_building."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from lorkit import profiles
from lorkit.decompose.artifacts import write_json
from lorkit.decompose.errors import ArtifactError, UsageError
from lorkit.export.targets.tensorrt.building import (
    batch_shapes,
    check_precision,
    differences,
    engine_key,
    flags,
    read_key,
    sm,
)
from lorkit.export.targets.tensorrt.trt import TARGET

TENSORRT: Any = SimpleNamespace(LayerType=SimpleNamespace(CONSTANT="CONSTANT"))


def network(*layers: tuple[str, str]) -> SimpleNamespace:
    def layer(index: int) -> SimpleNamespace:
        kind, dtype = layers[index]
        return SimpleNamespace(
            type=kind, num_outputs=1, get_output=lambda _: SimpleNamespace(dtype=SimpleNamespace(name=dtype))
        )

    return SimpleNamespace(num_layers=len(layers), get_layer=layer)


def test_constants_do_not_count_as_computed() -> None:
    check_precision(TENSORRT, network(("CONVOLUTION", "FLOAT")), "fp32")
    check_precision(TENSORRT, network(("CONSTANT", "HALF"), ("CONVOLUTION", "HALF")), "fp16")
    with pytest.raises(UsageError, match=r"no tensor .* HALF \(found: FLOAT\)"):
        check_precision(TENSORRT, network(("CONSTANT", "HALF"), ("CONVOLUTION", "FLOAT")), "fp16")
    with pytest.raises(UsageError, match=r"found: none"):
        check_precision(TENSORRT, network(), "bf16")


@pytest.mark.parametrize(
    ("settings", "names"),
    [
        ({}, []),
        ({"strip": True}, ["STRIP_PLAN", "REFIT_IDENTICAL"]),
        ({"strip": True, "refit": True}, ["REFIT", "STRIP_PLAN"]),
        ({"version_compatible": True, "hardware_compatible": True}, ["VERSION_COMPATIBLE"]),
    ],
)
def test_settings_become_flags(settings: dict[str, bool], names: list[str]) -> None:
    assert flags(settings) == names


def test_every_part_of_a_key_changes_it(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(b"graph")
    parts: dict[str, Any] = {"driver": "1", "batch_shapes": batch_shapes(profiles.load("h200"), (1, 8, 8))}
    parts |= TARGET.requested(profiles.load("h200"))
    keys = [engine_key(path, parts)["key"]]
    keys += [engine_key(path, parts | {name: "other"})["key"] for name in parts]
    path.write_bytes(b"another graph")
    keys.append(engine_key(path, parts)["key"])
    assert len(set(keys)) == len(keys)


def test_a_key_is_read_as_written_and_not_when_forged(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(b"graph")
    parts = {"driver": "1", "batch_shapes": [[1, 1], [2, 1], [4, 1]]}
    key = engine_key(tmp_path / "model.onnx", parts)
    write_json(tmp_path / "engine.json", key)
    assert read_key(tmp_path) == key
    for forged in (key | {"driver": "2"}, {"batch_shapes": []}, {}, engine_key(tmp_path / "model.onnx", {})):
        write_json(tmp_path / "engine.json", forged)
        with pytest.raises(ArtifactError, match="not the key of an engine"):
            read_key(tmp_path)


def test_differences_name_both_values() -> None:
    assert differences({"a": 1, "b": 2}, {"a": 1}) == ""
    assert differences({"a": 1}, {"a": 2, "c": 3}) == "a (1, here 2), c (None, here 3)"
    assert sm("12.1") == "SM121"
