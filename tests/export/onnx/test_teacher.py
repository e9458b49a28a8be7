"""An ONNX file as a foundation: real graphs, made by onnx itself, run by ONNX Runtime."""

from __future__ import annotations

import copy
from pathlib import Path

import numpy as np
import onnx
import pytest
import small_runs
import torch
from onnx import TensorProto, helper, numpy_helper
from torch.nn import functional as F

from lorkit.decompose import load_config, train
from lorkit.decompose.config import ImageConfig
from lorkit.decompose.errors import ArtifactError, DataError, UsageError
from lorkit.decompose.evaluation.evaluation import evaluate
from lorkit.decompose.models.foundation.teacher import TeacherBackbone
from lorkit.decompose.runs import open_run
from lorkit.decompose.training.foundation.resolving import resolve_foundation
from lorkit.export.building.sources import networks_of_run
from lorkit.export.gating.gating import exit_code, gate
from lorkit.export.onnx.teacher import OnnxTeacher, open_teacher

IMAGE = ImageConfig(size=(16, 16), channels=1)
STAGES = ("s1", "s2", "s3", "s4")


def write_graph(path: Path, *, batch: str | int = "batch", seed: int = 0, outside: str | None = None) -> Path:
    """Write four strided convolutions with batch norms, their pooled end and a classifier that nobody asks for."""
    rng = np.random.default_rng(seed)
    weights, nodes, last = [], [], "image"
    for index, name in enumerate(STAGES):
        kernel = rng.normal(0, 0.4, (4, 1 if index == 0 else 4, 3, 3)).astype(np.float32)
        weights.append(numpy_helper.from_array(kernel, f"w{index}"))
        nodes.append(helper.make_node("Conv", [last, f"w{index}"], [f"c{index}"], strides=[2, 2], pads=[1] * 4))
        nodes.append(helper.make_node("Relu", [f"c{index}"], [name]))
        last = name
    nodes.append(helper.make_node("GlobalAveragePool", [last], ["gap"]))
    nodes.append(helper.make_node("Flatten", ["gap"], ["pooled"]))
    nodes.append(helper.make_node("Softmax", ["pooled"], ["classes"]))
    taken = helper.make_tensor_value_info("image", TensorProto.FLOAT, [batch, 1, 16, 16])
    given = helper.make_tensor_value_info("classes", TensorProto.FLOAT, [batch, 4])
    model = helper.make_model(helper.make_graph(nodes, "g", [taken], [given], weights), ir_version=10)
    model.opset_import[0].version = 20
    if outside is not None:
        onnx.external_data_helper.set_external_data(model.graph.initializer[1], location=outside)
        model.graph.initializer[1].ClearField("raw_data")
        content = rng.normal(0, 0.4, (4, 4, 3, 3)).astype(np.float32).tobytes()
        (path.parent / outside).write_bytes(content)
    path.write_bytes(model.SerializeToString())
    return path


def test_features_are_those_of_the_named_tensors(tmp_path: Path) -> None:
    path = write_graph(tmp_path / "t.onnx")
    teacher = OnnxTeacher(path, IMAGE, STAGES, "pooled")
    stored = onnx.load(path).graph.initializer
    weights = {one.name: torch.from_numpy(numpy_helper.to_array(one).copy()) for one in stored}
    for count in (1, 3, 5):
        x = image = torch.rand(count, 1, 16, 16)
        found = teacher.features(image)
        for index, grid in enumerate(found.grids):
            x = F.relu(F.conv2d(x, weights[f"w{index}"], stride=2, padding=1))
            torch.testing.assert_close(grid, x, atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(found.features, x.mean((2, 3)), atol=1e-5, rtol=1e-4)
    assert copy.deepcopy(teacher) is teacher
    averaged = OnnxTeacher(path, IMAGE, ("s4",), None).features(image)
    torch.testing.assert_close(averaged.features, found.features)
    assert TeacherBackbone(teacher).feature_dim == 4


def test_the_digest_is_of_weights_and_names(tmp_path: Path) -> None:
    one = OnnxTeacher(write_graph(tmp_path / "a.onnx"), IMAGE, STAGES, "pooled").digest
    assert OnnxTeacher(write_graph(tmp_path / "b.onnx"), IMAGE, STAGES, "pooled").digest == one
    assert OnnxTeacher(write_graph(tmp_path / "b.onnx"), IMAGE, STAGES, "gap").digest != one
    assert OnnxTeacher(write_graph(tmp_path / "c.onnx", seed=1), IMAGE, STAGES, "pooled").digest != one


def test_of_masks_its_stages_stand_side_by_side_at_the_images_size(tmp_path: Path) -> None:
    path = write_graph(tmp_path / "t.onnx")
    image = torch.rand(2, 1, 16, 16)
    joined = OnnxTeacher(path, IMAGE, STAGES, None, dense=True).features(image)
    wanted = [F.interpolate(grid, (16, 16), mode="bilinear") for grid in joined.grids]
    torch.testing.assert_close(joined.features, torch.cat(wanted, dim=1))
    named = OnnxTeacher(path, IMAGE, STAGES, "s2", dense=True)
    torch.testing.assert_close(named.features(image).features, wanted[1])
    assert named.digest != OnnxTeacher(path, IMAGE, STAGES, "s2").digest
    with pytest.raises(UsageError, match=r"tensor 'pooled' of the teacher has shape \[2, 4\]"):
        OnnxTeacher(path, IMAGE, STAGES, "pooled", dense=True).features(image)


@pytest.mark.parametrize("method", ["rd", "drd"])
def test_it_teaches_masks(tmp_path: Path, method: str) -> None:
    write_graph(tmp_path / "t.onnx")
    images, masks = np.random.default_rng(0).integers(0, 80, (12, 32, 32), dtype=np.uint8), np.zeros((12, 32, 32), int)
    masks[:, 8:20, 8:20] = 1
    names = np.array(["background", "square"])
    np.savez(tmp_path / "a.npz", images=images, masks=masks.astype(np.uint8), mask_names=names)
    lines = [f"method: {method}", "image: {size: 32, channels: 1}", "regions: {a: {data: a.npz, task: segmentation}}"]
    lines += ["foundation: {weights: t.onnx, features: [s1, s2, s3, s4], image: {size: 16}}"]
    lines += ["student: {backbone: basicunet}", "train: {epochs: 1, batch_size: 4}", "split: {val: 0.3, test: 0.3}"]
    (tmp_path / "d.yaml").write_text("\n".join(lines), encoding="utf-8")
    config = load_config(tmp_path / "d.yaml")
    teacher = open_teacher(config)
    run = open_run(train(config, out=tmp_path / "runs", teacher=teacher).run)
    found = evaluate(run, model="foundation", teacher=teacher).to_json()["regions"]["a"]
    assert found["source"] == "probe"


def test_outside_data_of_its_folder_is_read_and_counts(tmp_path: Path) -> None:
    path = write_graph(tmp_path / "t.onnx", outside="t.data")
    first = OnnxTeacher(path, IMAGE, STAGES, "pooled")
    image = torch.rand(2, 1, 16, 16)
    (tmp_path / "t.data").write_bytes(np.ones((4, 4, 3, 3), np.float32).tobytes())
    second = OnnxTeacher(path, IMAGE, STAGES, "pooled")
    assert first.digest != second.digest
    assert not torch.equal(first.features(image).features, second.features(image).features)


def test_data_elsewhere_are_refused(tmp_path: Path) -> None:
    (tmp_path / "inner").mkdir()
    path = write_graph(tmp_path / "inner" / "t.onnx", outside="../secret.data")
    with pytest.raises(ArtifactError, match=r"keeps 'w1' in '../secret.data'"):
        OnnxTeacher(path, IMAGE, STAGES, "pooled")


def test_data_elsewhere_are_refused_in_functions_too(tmp_path: Path) -> None:
    path = write_graph(tmp_path / "t.onnx")
    model = onnx.load(path)
    hidden = onnx.TensorProto(name="hidden", data_type=onnx.TensorProto.FLOAT, dims=[1])
    hidden.data_location = onnx.TensorProto.EXTERNAL
    hidden.external_data.add(key="location", value="../secret.data")
    node = onnx.helper.make_node("Constant", [], ["y"], value=hidden)
    model.functions.add(name="f", domain="own", output=["y"]).node.append(node)
    path.write_bytes(model.SerializeToString())
    with pytest.raises(ArtifactError, match=r"keeps 'hidden' in '../secret.data'"):
        OnnxTeacher(path, IMAGE, STAGES, "pooled")


@pytest.mark.parametrize(
    ("batch", "image", "names", "message"),
    [
        ("batch", IMAGE, ("s1", "stage4"), r"has no tensor 'stage4'.*as s4"),
        (2, IMAGE, ("s1",), "fixes the batch of 'image' at 2"),
        ("batch", ImageConfig(size=(16, 16), channels=3), ("s1",), r"takes images 1 x 16 x 16, foundation.image is 3"),
        ("batch", ImageConfig(size=(24, 24), channels=1), ("s1",), r"foundation.image is 1 x 24 x 24"),
        ("batch", IMAGE, ("pooled",), r"tensor 'pooled' of the teacher has shape \[2, 4\]"),
    ],
)
def test_bad_files_are_refused_in_one_line(
    tmp_path: Path, batch: str | int, image: ImageConfig, names: tuple[str, ...], message: str
) -> None:
    path = write_graph(tmp_path / "t.onnx", batch=batch)
    with pytest.raises(UsageError, match=message) as caught:
        TeacherBackbone(OnnxTeacher(path, image, names, "pooled"))
    assert "\n" not in str(caught.value)


def test_what_is_no_graph_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "t.onnx"
    with pytest.raises(DataError, match="no file"):
        OnnxTeacher(path, IMAGE, STAGES, None)
    path.write_bytes(b"no protobuf at all")
    with pytest.raises(ArtifactError, match="cannot be read as ONNX"):
        OnnxTeacher(path, IMAGE, STAGES, None)


def configuration(directory: Path) -> Path:
    small_runs.write_data(directory / "chest.npz", ("normal", "ill"))
    lines = ["method: drd", "image: {size: 32, channels: 1}", "regions: {chest: {data: chest.npz}}"]
    lines += ["foundation: {weights: t.onnx, features: [s1, s2, s3, s4], pooled: pooled, image: {size: 16}}"]
    lines += ["student: {backbone: tiny_resnet}", "train: {epochs: 1, batch_size: 32}"]
    path = directory / "decompose.yaml"
    path.write_text("\n".join(lines), encoding="utf-8")
    return path


def test_settings_of_a_file_are_checked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small_runs.register_tiny(monkeypatch.setitem)
    path = configuration(tmp_path)
    with pytest.raises(UsageError, match="with an ONNX file"):
        load_config(path, overrides=["foundation.weights=x.pth"])
    with pytest.raises(UsageError, match="naming tensors"):
        load_config(path, overrides=["foundation.features=[]", "foundation.pooled=null"])
    write_graph(tmp_path / "t.onnx")
    with pytest.raises(UsageError, match="without the teacher itself"):
        resolve_foundation(load_config(path))


def test_a_run_under_a_file_is_measured_and_never_passes_the_gate(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small_runs.register_tiny(monkeypatch.setitem)
    write_graph(tmp_path / "t.onnx")
    config = load_config(configuration(tmp_path))
    teacher = open_teacher(config)
    run = open_run(train(config, out=tmp_path / "runs", teacher=teacher).run)
    assert run.config.foundation.backbone.startswith("teacher:")
    found = evaluate(run, model="foundation", teacher=open_teacher(run.config)).to_json()
    assert found["regions"]["chest"]["source"] == "probe"

    from lorkit.decompose import extract
    from lorkit.export import export

    extract(run)
    assert {source.owner for source in networks_of_run(run)} == {"expert", "student"}
    export(run.path, owners=("expert",))
    document = gate(run.path)
    assert document.verdict == "inconclusive"
    assert exit_code(document) == 3
    assert "not exported" in document.regions["chest"].reasons[0]
