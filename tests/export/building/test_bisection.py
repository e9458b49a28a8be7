from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import numpy_helper
from resealing import seal_manifest

from lorkit.decompose.artifacts import digest_file
from lorkit.decompose.errors import ParityError, UsageError
from lorkit.export.building.bisection import beginning, bisect, first_wrong_layer
from lorkit.export.building.exporting import export
from lorkit.export.building.verification import verify
from lorkit.export.onnx.cpu_runner import inferrer
from lorkit.export.runtime.reference_images import seeded_inputs
from lorkit.export.targets import get_target
from lorkit.export.targets.base import BuildRequest

IMAGES = seeded_inputs((1, 16, 16), 4)
GIVEN = {"image": IMAGES}


@given(count=st.integers(1, 200), first=st.integers(0, 220))
def test_the_first_name_beyond_the_limit_in_few_questions(count: int, first: int) -> None:
    asked: list[str] = []

    def error(name: str) -> float:
        asked.append(name)
        return 1.0 if int(name) >= first else 0.1

    index, errors = bisect([str(number) for number in range(count)], error, 0.5)
    assert index == (first if first < count else None)
    assert len(asked) == len(set(asked)) <= 2 + math.ceil(math.log2(count))
    assert set(errors) == {int(name) for name in asked}


def test_not_a_number_is_beyond_any_limit() -> None:
    assert bisect(["a", "b"], lambda name: float("nan"), 1e9)[0] == 0
    assert bisect([], lambda name: 0.0, 1.0)[0] is None


def broken(model: onnx.ModelProto, layer: int) -> tuple[onnx.ModelProto, str]:
    """Double the weights of the nth convolution or product; return the graph and what that layer gives."""
    changed = onnx.ModelProto.FromString(model.SerializeToString())
    node = [node for node in changed.graph.node if node.op_type in ("Conv", "Gemm", "MatMul")][layer]
    (weights,) = [tensor for tensor in changed.graph.initializer if tensor.name == node.input[1]]
    weights.CopyFrom(numpy_helper.from_array(2 * numpy_helper.to_array(weights), weights.name))
    return changed, node.output[0]


@pytest.mark.parametrize("layer", [0, 1, 2])
def test_the_broken_layer_is_named(tmp_path: Path, build_request: Callable[..., BuildRequest], layer: int) -> None:
    plan = build_request(tmp_path)
    original = onnx.load(plan.onnx_path)
    before = plan.onnx_path.read_bytes()
    lowered, name = broken(original, layer)
    found = first_wrong_layer(lowered, original, get_target("onnx"), plan, GIVEN, 1e-3)
    assert found.layer == name
    assert found.layer_error is not None
    assert found.layer_error > 1e-3
    assert found.before is None or found.before < 1e-3
    assert plan.onnx_path.read_bytes() == before


def test_a_sound_export_has_no_wrong_layer(tmp_path: Path, build_request: Callable[..., BuildRequest]) -> None:
    plan = build_request(tmp_path)
    original = onnx.load(plan.onnx_path)
    found = first_wrong_layer(original, original, get_target("onnx"), plan, GIVEN, 1e-6)
    assert (found.layer, found.layer_error, len(found.compared_layers)) == (None, None, 1)


def test_a_beginning_gives_what_the_whole_graph_has_there(
    tmp_path: Path, build_request: Callable[..., BuildRequest]
) -> None:
    model = onnx.load(build_request(tmp_path).onnx_path)
    first = next(node for node in model.graph.node if node.op_type == "Relu")
    piece = beginning(model, first.output[0])
    onnx.checker.check_model(piece, full_check=True)
    assert len(piece.graph.node) < len(model.graph.node)
    found = inferrer(piece)(GIVEN)["logits"]
    assert found.shape == (4, 8, 16, 16)
    assert found.min() == 0
    np.testing.assert_array_equal(
        inferrer(beginning(model, "logits"))(GIVEN)["logits"], inferrer(model)(GIVEN)["logits"]
    )


def test_what_is_compiled_from_torch_is_refused(tmp_path: Path, build_request: Callable[..., BuildRequest]) -> None:
    class Compiled:
        name, built_from = "aoti", "torch"

    plan = build_request(tmp_path)
    model = onnx.load(plan.onnx_path)
    with pytest.raises(UsageError, match="--bisect for target aoti"):
        first_wrong_layer(model, model, Compiled(), plan, GIVEN, 1e-3)  # type: ignore[arg-type]


def test_a_failed_verification_names_the_layer(extracted: Path, tmp_path: Path) -> None:
    run = Path(shutil.copytree(extracted, tmp_path / "run"))
    (result,) = export(run, region="chest", profile="cpu-generic", owners=("expert",)).exports
    (row,) = verify(result.path, bisect=True).to_json()["exports"]
    assert row["bisection"]["layer"] is None
    path = result.path / "model.onnx"
    changed, name = broken(onnx.load(path), 0)
    onnx.save(changed, path)
    manifest = json.loads((result.path / "manifest.json").read_text())
    manifest["files"]["model.onnx"] = digest_file(path)
    described = result.path / "export.json"
    described.write_text(
        json.dumps(
            json.loads(described.read_text()) | {"onnx_digest": digest_file(path), "size_bytes": path.stat().st_size}
        )
    )
    manifest["files"]["export.json"] = digest_file(described)
    (result.path / "manifest.json").write_text(json.dumps(manifest))
    seal_manifest(result.path)
    with pytest.raises(ParityError, match=rf"first at layer {name} \(Conv\)"):
        verify(result.path, bisect=True)
    alone = shutil.copytree(result.path, tmp_path / "alone")
    with pytest.raises(UsageError, match="whose source network is missing"):
        verify(alone, bisect=True)
