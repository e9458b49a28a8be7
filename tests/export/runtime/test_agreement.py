"""Every field of `export.json` that somebody changes and seals again is refused, in the run and away from it."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from PIL import Image
from resealing import digest, edit_json, reseal

from lorkit.decompose.errors import ArtifactError
from lorkit.export.building.verification import verify
from lorkit.export.prediction.prediction import predict
from lorkit.export.runtime.exported import read_exported

BUILD = "onnx-cpu-generic-fp32"


def _steps(info: dict[str, Any]) -> None:
    info["recipe"]["steps"][0] |= {"rule": "window", "low": 0.0, "high": 9.0}


FIELDS: dict[str, Callable[[dict[str, Any]], object]] = {
    "classes": lambda info: info["classes"].reverse(),
    "outputs": lambda info: info["outputs"].reverse(),
    "recipe": _steps,
    "in_region": lambda info: info["in_region"].update(limit=1e9),
    "in_region, none": lambda info: info.update(in_region=None),
    "in_region, its mean": lambda info: info["in_region"]["mean"].reverse(),
    "task": lambda info: info.update(task="multilabel"),
    "modality": lambda info: info.update(modality="xray"),
    "decision": lambda info: info.update(decision={"policy": "0.1", "thresholds": {"normal": 0.1, "pneumonia": 0.1}}),
    "grouped": lambda info: info.update(grouped=False),
    "recall_at": lambda info: info.update(recall_at=[3]),
    "image": lambda info: info["image"].update(size=[8, 8]),
    "normalise": lambda info: info["normalise"].update(mean=[0.1]),
    "sided": lambda info: info.update(sided=not info["sided"]),
    "parameters": lambda info: info.update(parameters=1),
    "macs": lambda info: info.update(macs=1),
    "synthetic": lambda info: info.update(synthetic=not info["synthetic"]),
    "region": lambda info: info.update(region="knee"),
    "owner": lambda info: info.update(owner="foundation"),
    "target": lambda info: info.update(target="openvino"),
    "profile": lambda info: info.update(profile="h200"),
    "precision": lambda info: info.update(precision="int8"),
    "graph_precision": lambda info: info.update(graph_precision="int8"),
    "nodes": lambda info: info.update(nodes=1),
    "size_bytes": lambda info: info.update(size_bytes=1),
    "onnx_digest": lambda info: info.update(onnx_digest=64 * "0"),
    "engine_file": lambda info: info.update(engine_file="other.onnx"),
    "made_from, the artifact": lambda info: info["made_from"].update(manifest=64 * "0"),
    "made_from, the kind": lambda info: info["made_from"].update(kind="run"),
    "made_from, the weights": lambda info: info["made_from"].update(weights=64 * "0"),
}
OF_EXPERT = ("in_region", "in_region, none", "in_region, its mean", "modality", "grouped", "recall_at", "sided",
             "parameters", "macs")  # fmt: skip
"""Fields that neither the ONNX file nor another field repeats: only the expert tells."""


def _image(folder: Path) -> Path:
    path = folder / "image.png"
    Image.fromarray(np.full((24, 24), 120, np.uint8)).save(path)
    return path


@pytest.fixture
def run(exported: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(exported, tmp_path / "runs/one"))


@pytest.mark.parametrize("field", FIELDS)
def test_a_changed_field_is_refused_by_every_reader(run: Path, field: str) -> None:
    path = run / "exports/chest" / BUILD
    edit_json(path / "export.json", FIELDS[field])
    reseal(path)
    for read in (verify, lambda one: predict(one, [_image(run)], allow_out_of_region=True), read_exported):
        with pytest.raises(ArtifactError, match=r"chest/onnx-cpu-generic-fp32"):
            read(path)


@pytest.mark.parametrize("field", [name for name in FIELDS if name not in OF_EXPERT])
def test_away_from_its_run_an_export_is_held_against_its_own_files(exported: Path, tmp_path: Path, field: str) -> None:
    path = Path(shutil.copytree(exported / "exports/chest" / BUILD, tmp_path / "copy"))
    edit_json(path / "export.json", FIELDS[field])
    reseal(path)
    with pytest.raises(ArtifactError, match="copy"):
        read_exported(path)


@pytest.mark.parametrize("owner", ["foundation", "student"])
@pytest.mark.parametrize("field", ["classes", "recipe", "modality", "parameters", "in_region"])
def test_verify_holds_other_networks_against_their_run(run: Path, owner: str, field: str) -> None:
    path, other = run / "exports" / owner / "chest" / BUILD, run / "exports/chest" / BUILD
    check = read_exported(other).info.to_json()["in_region"]
    edit = FIELDS[field] if field != "in_region" else lambda info: info.update(in_region=check)
    edit_json(path / "export.json", edit)
    reseal(path)
    with pytest.raises(ArtifactError, match=field):
        verify(path)


METADATA = ("lorkit.classes", "lorkit.recipe", "lorkit.outputs", "lorkit.region", "lorkit.synthetic", "lorkit.use",
            "lorkit.weights_digest", "lorkit.task", "lorkit.owner", "lorkit.precision", "lorkit.strange")  # fmt: skip


def _resealed_graph(path: Path, edit: Callable[[onnx.ModelProto], object]) -> None:
    model = onnx.load(path / "model.onnx")
    edit(model)
    onnx.save(model, path / "model.onnx")
    new = {"onnx_digest": digest(path / "model.onnx"), "size_bytes": (path / "model.onnx").stat().st_size}
    edit_json(path / "export.json", lambda info: info.update(new))
    reseal(path)


@pytest.mark.parametrize("name", METADATA)
def test_metadata_that_examples_read_is_that_of_the_description(exported: Path, tmp_path: Path, name: str) -> None:
    path = Path(shutil.copytree(exported / "exports/chest" / BUILD, tmp_path / "copy"))

    def edit(model: onnx.ModelProto) -> None:
        named = {entry.key: entry.value for entry in model.metadata_props}
        onnx.helper.set_model_props(model, named | {name: "another"})

    _resealed_graph(path, edit)
    with pytest.raises(ArtifactError, match=f"{name.removeprefix('lorkit.')} in export.json is not that in model.onnx"):
        read_exported(path)


def test_metadata_cannot_be_left_out(exported: Path, tmp_path: Path) -> None:
    path = Path(shutil.copytree(exported / "exports/chest" / BUILD, tmp_path / "copy"))
    _resealed_graph(path, lambda model: model.ClearField("metadata_props"))
    with pytest.raises(ArtifactError, match=r"is not that in model\.onnx"):
        read_exported(path)


def test_weights_in_a_file_that_is_not_listed_are_refused(exported: Path, tmp_path: Path) -> None:
    path = Path(shutil.copytree(exported / "exports/chest" / BUILD, tmp_path / "copy"))

    def edit(model: onnx.ModelProto) -> None:
        tensor = model.graph.initializer[0]
        (tmp_path / "weights.bin").write_bytes(tensor.raw_data)
        onnx.external_data_helper.set_external_data(tensor, location="../weights.bin")
        tensor.ClearField("raw_data")

    _resealed_graph(path, edit)
    with pytest.raises(ArtifactError, match=r"weights in \.\./weights\.bin"):
        read_exported(path)


def test_the_expert_itself_cannot_be_changed_beside_its_manifest(run: Path) -> None:
    edit_json(run / "experts/chest/expert.json", lambda info: info["in_region"].update(limit=1e9))
    with pytest.raises(ArtifactError, match=r"expert\.json has changed"):
        predict(run / "exports/chest" / BUILD, [_image(run)], allow_out_of_region=True)
