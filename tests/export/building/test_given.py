"""A network that lorkit did not train through export, verify, bench, gate and predict, and attacks on its directory."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from given_networks import write_given, write_images, write_recipe
from PIL import Image
from resealing import reseal

from lorkit.decompose import evaluate, extract
from lorkit.decompose.artifacts import read_manifest
from lorkit.decompose.errors import ArtifactError, DataError, LorkitError, UsageError
from lorkit.decompose.runs import list_runs, open_run
from lorkit.export import bench, export, gate, predict, report, verify
from lorkit.export.building.given import with_network
from lorkit.export.building.job import is_given
from lorkit.export.runtime.exported import read_exported


@pytest.fixture(scope="module")
def given(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a classifier, its images and its recipe, exported in fp32 and int8."""
    folder = tmp_path_factory.mktemp("given")
    write_given(folder / "spots.onnx")
    write_images(folder / "x.npz")
    write_recipe(folder / "r.yaml")
    document = export(folder / "spots.onnx", **options(folder), precision="int8")
    assert [row.precision for row in document.exports] == ["int8", "fp32"]
    return folder


def options(folder: Path, **changes: Any) -> dict[str, Any]:
    return {"calibration": folder / "x.npz", "recipe": folder / "r.yaml", "out": folder / "n", **changes}


def test_its_directory_begins_the_chain_and_is_no_run(given: Path) -> None:
    manifest = read_manifest(given / "n", kind="network")
    assert manifest.parent is None
    assert manifest.extra["begins_with"]["name"] == "spots.onnx"
    run = open_run(given / "n")
    assert run.given is not None
    assert not run.has_foundation
    assert not run.synthetic
    assert sum(run.given.cases.values()) == 60
    assert list_runs(given) == []
    one = read_exported(next((given / "n" / "exports" / "spots").glob("onnx-*-fp32")), chained=True)
    assert one.info.made_from is not None
    assert one.info.made_from.kind == "network"
    assert one.info.made_from.weights == manifest.files["source.onnx"]


def test_all_verbs_take_it(given: Path, tmp_path: Path) -> None:
    rows = verify(given / "n", batches=(1, 3)).exports
    assert [(row.precision, row.against, row.inputs) for row in rows] == [
        ("fp32", "source", "real"),
        ("int8", "source", "real"),
    ]
    assert len(bench(run=given / "n", samples=5, max_seconds=1).exports) == 2
    document = gate(given / "n", max_seconds=1, margin=0.9)
    block = document.regions["spots"]
    assert (block.baseline.precision, block.candidate.precision) == ("fp32", "int8")
    assert (block.accuracy_test.candidate, block.accuracy_test.drop) == (1.0, 0.0)
    assert any("training data are not known" in reason for reason in block.reasons)
    assert (given / "n" / "measurements" / "gate.json").is_file()
    Image.fromarray(np.full((16, 16), 160, dtype=np.uint8)).save(tmp_path / "a.png")
    found = predict(None, [tmp_path / "a.png"], run=given / "n")
    assert '"bright"' in json.dumps(found.to_json())


def test_report_and_evaluation_are_of_the_file_itself(given: Path) -> None:
    document = evaluate(with_network(open_run(given / "n")))
    assert (document.regions["spots"].source, document.regions["spots"].value("accuracy")) == ("given", 1.0)
    report(given / "n")
    page = (given / "n" / "report" / "report.md").read_text(encoding="utf-8")
    assert "decompose export spots.onnx --calibration DATA --recipe RECIPE --region spots --out networks/n" in page
    assert "decompose train" not in page
    assert "a network that lorkit did not train" in (given / "n" / "report" / "report.html").read_text(encoding="utf-8")


def test_commands_of_training_refuse_it(given: Path) -> None:
    with pytest.raises(UsageError, match=r"spots\.onnx, which lorkit did not train.*use export"):
        extract(given / "n")
    with pytest.raises(UsageError, match=r"model student of networks/n.*lorkit did not train"):
        evaluate(with_network(open_run(given / "n")), model="student")


def test_a_second_export_uses_the_directory_of_the_first(given: Path) -> None:
    before = (given / "n" / "manifest.json").read_bytes()
    again = export(given / "spots.onnx", **options(given), precision="int8")
    assert all(row.up_to_date for row in again.exports)
    assert all(row.up_to_date for row in export(given / "n", precision="int8").exports)
    assert (given / "n" / "manifest.json").read_bytes() == before


def test_torch_targets_are_refused_by_name(given: Path) -> None:
    with pytest.raises(UsageError, match="target aoti is made from a PyTorch module, and spots is an ONNX file"):
        export(given / "n", target="aoti")


def test_a_mask_goes_the_same_way(tmp_path: Path) -> None:
    write_given(tmp_path / "net.onnx", dense=True, last=True, end="Softmax", opset=13, batch=1)
    write_images(tmp_path / "x.npz", dense=True, count=30)
    write_recipe(tmp_path / "r.yaml", dense=True, layout="channels-last", output="probabilities")
    export(tmp_path / "net.onnx", **options(tmp_path), region="spot", precision="int8")
    (row,) = verify(tmp_path / "n", precision="int8", batches=(1, 3)).exports
    assert row.region == "spot"
    assert row.dice is not None
    assert row.dice > 0.98
    block = gate(tmp_path / "n", max_seconds=1, margin=0.9).regions["spot"]
    assert block.accuracy_test.candidate > 0.9


@pytest.mark.parametrize(
    ("changes", "error", "text"),
    [
        ({"calibration": None}, UsageError, "without data.*--calibration"),
        ({"recipe": None}, UsageError, r"no --recipe lacks task.*input 'x' is \? x 1 x 16 x 16"),
        ({"region": "a/b"}, UsageError, "region name 'a/b'"),
        ({"region": "foundation"}, UsageError, "reserved"),
        ({"recipe": {"classes": ["dark", "light"]}}, DataError, "bright"),
        ({"recipe": {"classes": ["dark", "bright", "grey"]}}, LorkitError, "grey"),
        ({"calibration": "missing.npz"}, DataError, "missing.npz"),
    ],
    ids=str,
)
def test_nothing_is_written_for_what_is_refused(
    given: Path, tmp_path: Path, changes: dict[str, Any], error: type[Exception], text: str
) -> None:
    if isinstance(changes.get("recipe"), dict):
        changes = {"recipe": write_recipe(tmp_path / "r.yaml", **changes["recipe"])}
    with pytest.raises(error, match=text):
        export(given / "spots.onnx", **options(given, out=tmp_path / "n", **changes))
    assert not (tmp_path / "n").exists()


def test_a_file_named_otherwise_needs_a_name(given: Path, tmp_path: Path) -> None:
    shutil.copy(given / "spots.onnx", tmp_path / "My Net.onnx")
    with pytest.raises(UsageError, match=r"region name 'My Net', after .*--region"):
        export(tmp_path / "My Net.onnx", **options(given, out=tmp_path / "n"))


def test_options_of_a_file_are_refused_for_a_run(given: Path) -> None:
    with pytest.raises(UsageError, match="--calibration or --recipe for"):
        export(given / "n", calibration=given / "x.npz")
    assert is_given(given / "spots.onnx")
    assert not is_given(given / "n")


@pytest.mark.parametrize("name", ["source.onnx", "network.json", "config.yaml", "splits.json"])
def test_a_changed_file_is_found(given: Path, tmp_path: Path, name: str) -> None:
    copy = shutil.copytree(given / "n", tmp_path / "n")
    with (copy / name).open("ab") as stream:
        stream.write(b" ")
    for call in (lambda: verify(copy), lambda: export(copy), lambda: gate(copy, max_seconds=1)):
        with pytest.raises(ArtifactError, match=f"{name} has changed"):
            call()


def test_an_export_of_another_state_of_the_directory_is_refused(given: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(given / "n", tmp_path / "n")
    reseal(copy, lambda manifest: manifest.update(created="2020-01-01T00:00:00+00:00"))
    with pytest.raises(ArtifactError, match="is not the"):
        verify(copy)
