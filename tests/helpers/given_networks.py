"""Small ONNX files as other tools write them, images that they tell apart, and recipes of both."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import yaml
from onnx import TensorProto, helper, numpy_helper

SIZE = 16
MEAN, STD = 0.5, 0.25
CLASSES = ["dark", "bright"]
_KIND = {np.dtype(np.float32): TensorProto.FLOAT, np.dtype(np.float16): TensorProto.FLOAT16}


def write_given(
    path: Path,
    *,
    last: bool = False,
    batch: int | str = "batch",
    opset: int = 17,
    half: bool = False,
    end: str | None = None,
    dense: bool = False,
    outputs: int = 2,
    frozen: str | None = None,
    size: int | str = SIZE,
) -> Path:
    """Write a network that tells bright images (N, 1, 16, 16), normalised, from dark ones; if dense, bright places.

    Args:
        path: The file.
        last: Whether its images and masks have their channels last.
        batch: The first side of its input.
        opset: Its set of operators.
        half: Whether it is float16.
        end: Softmax or Sigmoid behind the logits.
        dense: Whether it returns a mask.
        outputs: 2 logits, or 1 of the second class.
        frozen: A constant that only a batch of one fits: `reshape`, which can be freed, or `add`, which cannot.
        size: Sides of its images.
    """
    kind = np.dtype(np.float16 if half else np.float32)
    rng, weights, nodes = np.random.default_rng(0), [], []

    def weight(name: str, value: Any, dtype: Any = kind) -> str:
        weights.append(numpy_helper.from_array(np.asarray(value).astype(dtype), name))
        return name

    def node(op: str, inputs: list[str], output: str, **attributes: Any) -> str:
        nodes.append(helper.make_node(op, inputs, [output], **attributes))
        return output

    value = node("Transpose", ["x"], "first", perm=[0, 3, 1, 2]) if last else "x"
    kernel = rng.normal(0, 0.02, (6, 1, 3, 3))
    kernel[0], kernel[1] = 1 / 9, -1 / 9
    value = node("Relu", [node("Conv", [value, weight("k", kernel)], "conv", pads=[1] * 4)], "image")
    row = np.array([4.0, -4.0, 0.1, 0.1, 0.1, 0.1])
    rows = np.stack([-row, row])[2 - outputs :]
    if dense:
        value = node("Conv", [value, weight("w", rows[:, :, None, None])], "logits")
    else:
        value = node("GlobalAveragePool", [value], "gap")
        if frozen == "reshape":
            value = node("Reshape", [value, weight("s", [1, 6], np.int64)], "flat")
        else:
            value = node("Flatten", [value], "flat")
        value = node("Gemm", [value, weight("w", rows)], "logits", transB=1)
    if frozen == "add":
        value = node("Concat", [value, weight("c", np.zeros((1, outputs)))], "both", axis=0)
        value = node("Slice", [value, *(weight(f"s{i}", [i], np.int64) for i in range(2)), weight("a", [0], np.int64)],
                     "kept")  # fmt: skip
    if end is not None:
        value = node(end, [value], "shares", **({"axis": 1} if end == "Softmax" else {}))
    value = node("Transpose", [value], "final", perm=[0, 2, 3, 1]) if last and dense else value
    sides = [size, size]
    shape = [batch, *sides, 1] if last else [batch, 1, *sides]
    given = helper.make_tensor_value_info("x", _KIND[kind], shape)
    returned = [batch, None, None, None] if dense else [batch, None]
    output = helper.make_tensor_value_info(value, _KIND[kind], returned)
    model = helper.make_model(helper.make_graph(nodes, "g", [given], [output], weights), ir_version=8)
    model.opset_import[0].version = opset
    path.write_bytes(model.SerializeToString())
    onnx.checker.check_model(model)
    return path


def write_images(path: Path, *, count: int = 60, dense: bool = False) -> Path:
    """Write dark and bright images, the last with labels or masks, of one patient each."""
    rng = np.random.default_rng(1)
    labels = np.arange(count) % 2
    base = np.where(labels == 1, 160.0, 90.0)[:, None, None] if not dense else 90.0
    images = base + rng.normal(0, 12, (count, SIZE, SIZE))
    masks = np.zeros((count, SIZE, SIZE), dtype=np.uint8)
    if dense:
        for index in range(count):
            y, x = rng.integers(0, SIZE - 6, 2)
            masks[index, y : y + 6, x : x + 6] = 1
        images += 70.0 * masks
    target = {"masks": masks} if dense else {"labels": labels, "label_names": np.array(CLASSES)}
    groups = np.array([f"p{index}" for index in range(count)])
    np.savez(path, images=np.clip(images, 0, 255).astype(np.uint8), groups=groups, **target)
    return path


def write_recipe(path: Path, *, dense: bool = False, **changes: Any) -> Path:
    """Write the recipe of these networks; a change to None leaves a key out."""
    kind = {"task": "segmentation", "structures": ["spot"]} if dense else {"task": "classification", "classes": CLASSES}
    image = {"size": SIZE, "channels": 1, "mean": [MEAN], "std": [STD]}
    recipe = {**kind, "image": image, "split": {"val": 0.3, "test": 0.3}, **changes}
    path.write_text(yaml.safe_dump({key: value for key, value in recipe.items() if value is not None}))
    return path
