from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from lone_scripts import each_alone
from PIL import Image
from resealing import reseal

from lorkit.decompose.artifacts import digest_file, read_json, read_manifest, verify_chain
from lorkit.decompose.errors import ArtifactError, BusyError, MissingRuntimeError, ParityError, UsageError
from lorkit.decompose.runs import exports_of, open_run
from lorkit.decompose.runs.expert import load_expert
from lorkit.export.building import builder, packaging, references
from lorkit.export.building.exporting import export
from lorkit.export.prediction.prediction import predict
from lorkit.export.runtime import parity
from lorkit.export.runtime.engine import load_engine

NAME = "onnx-cpu-generic-fp32"


@pytest.fixture
def expert(extracted: Path, tmp_path: Path) -> Path:
    """A copy of the chest expert, away from its run."""
    return Path(shutil.copytree(extracted / "experts" / "chest", tmp_path / "elsewhere"))


def test_a_run_exports_experts_foundation_and_student(exported: Path) -> None:
    entries = exports_of(open_run(exported))
    assert {(entry.owner, entry.region) for entry in entries} == {
        (owner, region) for owner in ("expert", "foundation", "student") for region in ("chest", "knee")
    }
    for entry in entries:
        info = read_json(entry.path / "export.json", kind="export")
        assert info["parity"]["status"] == "passed"
        assert info["parity"]["inputs"] == "real"
        assert info["parity"]["batches"] == [1, 3, 8]
        assert info["parity"]["label_flips"] == 0
        assert info["provider"] == "CPUExecutionProvider"
        assert info["macs"] > 0
    assert [manifest.kind for manifest in verify_chain(entries[0].path)] == ["export", "expert", "run"]


def test_a_second_time_it_is_up_to_date_and_force_gives_the_same_bytes(exported: Path, tmp_path: Path) -> None:
    options = {"region": "chest", "profile": "cpu-generic", "owners": ("expert",)}
    run = shutil.copytree(exported, tmp_path / "run")
    first = digest_file(run / "exports" / "chest" / NAME / "model.onnx")
    assert [result.up_to_date for result in export(run, **options).exports] == [True]
    assert [result.up_to_date for result in export(run, force=True, **options).exports] == [False]
    assert digest_file(run / "exports" / "chest" / NAME / "model.onnx") == first


def test_a_tampered_export_is_not_silently_rebuilt(exported: Path, tmp_path: Path) -> None:
    run = shutil.copytree(exported, tmp_path / "run")
    with (run / "exports" / "chest" / NAME / "model.onnx").open("ab") as stream:
        stream.write(b"x")
    with pytest.raises(ArtifactError, match=r"model\.onnx has changed"):
        export(run, region="chest", profile="cpu-generic", owners=("expert",))


def test_the_graph_tells_what_it_is_and_names_no_machine(exported: Path) -> None:
    path = exported / "exports" / "chest" / NAME / "model.onnx"
    notes = {prop.key: prop.value for prop in onnx.load(path).metadata_props}
    assert notes["lorkit.region"] == "chest"
    assert json.loads(notes["lorkit.classes"]) == ["normal", "pneumonia"]
    assert json.loads(notes["lorkit.recipe"])["version"] == 1
    assert notes["lorkit.synthetic"] == "false"
    content = path.read_bytes()
    assert str(exported).encode() not in content
    assert b"site-packages" not in content
    assert b".py" not in content


def test_images_of_patients_stay_out_of_an_export(exported: Path) -> None:
    directory = exported / "exports" / "chest" / NAME
    assert read_json(directory / "export.json")["kept_samples"]["inputs"] == "seeded"
    with np.load(directory / "samples.npz") as samples, load_engine(directory) as engine:
        np.testing.assert_allclose(engine.run(samples["image"]), samples["logits"], atol=1e-4)


def test_a_copied_expert_is_exported_into_itself_and_stays_intact(expert: Path) -> None:
    (result,) = export(expert, profile="cpu-generic").exports
    assert result.path == expert / "exports" / NAME
    assert result.parity.inputs == "seeded"
    assert "its images are unknown" in read_json(result.path / "export.json")["warnings"][0]
    read_manifest(expert, kind="expert")


def test_out_names_another_place(expert: Path, tmp_path: Path) -> None:
    (result,) = export(expert, profile="cpu-generic", out=tmp_path / "out").exports
    assert result.path == tmp_path / "out" / "elsewhere" / NAME


def test_what_cannot_be_chosen_is_named_with_what_can(extracted: Path) -> None:
    with pytest.raises(UsageError, match=r"unknown target 'onx'.*onnx.*trt.*did you mean 'onnx'"):
        export(extracted, target="onx")
    with pytest.raises(UsageError, match=r"unknown precision 'int4'.*one of auto, fp16, fp32"):
        export(extracted, precision="int4")
    with pytest.raises(UsageError, match=r"precision bf16 on profile t4, which does not support it.*one of fp32"):
        export(extracted, target="trt", profile="t4", precision="bf16")
    with pytest.raises(UsageError, match=r"unknown region 'brain'.*chest, knee"):
        export(extracted, region="brain")
    with pytest.raises(UsageError, match=r"unknown profile 'cpu'"):
        export(extracted, profile="cpu")
    with pytest.raises(UsageError, match=r"unknown owner 'teacher'"):
        export(extracted, owners=("teacher",))


def test_failed_parity_leaves_nothing(expert: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(parity.TOLERANCES, "fp32", -1.0)
    with pytest.raises(ParityError, match=r"differs from its source by .*required: at most"):
        export(expert, profile="cpu-generic")
    assert not list((expert / "exports").iterdir())


def test_trt_without_tensorrt_leaves_the_onnx_it_would_take(expert: Path) -> None:
    for _ in range(2):
        with pytest.raises(MissingRuntimeError, match=r"TensorRT is not installed.*pip install 'tensorrt"):
            export(expert, target="trt", profile="h200")
    directory = expert / "exports" / "trt-h200-fp32"
    info = read_json(directory / "export.json", kind="export")
    assert info["parity"]["status"] == "not_run"
    assert info["engine_file"] is None
    onnx.checker.check_model(onnx.load(directory / "model.onnx"))
    read_manifest(directory, kind="export")
    with pytest.raises(MissingRuntimeError, match="TensorRT"):
        load_engine(directory)


def test_the_example_needs_no_lorkit_and_no_torch_and_agrees_with_predict(exported: Path, tmp_path: Path) -> None:
    directory = exported / "exports" / "chest" / NAME
    generator = np.random.default_rng(3)
    images = {
        "gray": generator.integers(0, 255, (40, 30), dtype=np.uint8),
        "colour": generator.integers(0, 255, (16, 16, 3), dtype=np.uint8),
        "deep": generator.integers(0, 65535, (20, 24), dtype=np.uint16),
    }
    for name, image in images.items():
        Image.fromarray(image).save(tmp_path / f"{name}.png")
    paths = [tmp_path / f"{name}.png" for name in images]
    answers = each_alone(directory / "example.py", *([str(path)] for path in paths), without=("lorkit", "torch"))
    rows = predict(directory, paths, allow_out_of_region=True).to_json()["predictions"]
    for found, row in zip(answers, rows, strict=True):
        assert found["classes"] == list(row["probabilities"])
        np.testing.assert_allclose(found["probabilities"], list(row["probabilities"].values()), atol=1e-7)
        assert found["not_for_diagnosis"] is True


def test_the_student_has_no_expert_in_it(exported: Path) -> None:
    runs = {owner: exported / "exports" / owner / "chest" / NAME for owner in ("student", "foundation")}
    image = np.random.default_rng(0).random((2, 1, 16, 16), dtype=np.float32)
    with load_engine(exported / "exports" / "chest" / NAME) as expert, load_engine(runs["student"]) as student:
        assert np.abs(expert.run(image) - student.run(image)).max() > 1e-3
        with torch.inference_mode():
            source = load_expert(exported / "experts" / "chest").network(torch.from_numpy(image)).numpy()
        np.testing.assert_allclose(expert.run(image), source, atol=1e-4)


def test_reference_outputs_do_not_depend_on_their_batch(extracted: Path) -> None:
    from lorkit.export.building.sources import exportable_expert

    source = exportable_expert(extracted / "experts" / "chest")
    image = np.random.default_rng(0).random((5, 1, 16, 16), dtype=np.float32)
    network = packaging.network_info(source)
    one, all_ = (references.reference_outputs(source, network, {"image": image}, batch=size) for size in (1, 5))
    assert list(one) == ["logits"]
    np.testing.assert_allclose(one["logits"], all_["logits"], atol=1e-5)


def test_an_export_of_an_expert_that_is_replaced_meanwhile_is_refused(
    expert: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    built = builder.build_export

    def replacing(*arguments: Any) -> None:
        built(*arguments)
        shutil.move(expert, expert.with_name("old"))
        shutil.copytree(expert.with_name("old"), expert)
        reseal(expert, lambda manifest: manifest.update(inputs="another"))

    monkeypatch.setattr(builder, "build_export", replacing)
    with pytest.raises(BusyError, match=r"elsewhere was replaced while it was read; required: the expert with"):
        export(expert, profile="cpu-generic")
    assert not list((expert / "exports").glob("*/[!.]*"))
