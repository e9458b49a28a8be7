"""Experts of masks and of volumes on the deployment path: export, verify, predict, gate, report and the example."""

from __future__ import annotations

import csv
import json
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import onnx
import pytest
import torch
from dicom_files import write_dicom
from PIL import Image

from lorkit.decompose.artifacts import read_json
from lorkit.decompose.errors import DataError, UsageError
from lorkit.decompose.runs.expert import load_expert
from lorkit.export.building.verification import verify
from lorkit.export.prediction.prediction import predict
from lorkit.export.reporting.pictures import overlay, pictures_of
from lorkit.export.runtime.engine import load_engine
from lorkit.export.runtime.exported import read_exported

STRUCTURES = ("core", "rim")


@pytest.mark.parametrize("name", ["flat", "deep"])
def test_a_graph_of_maps_runs_at_any_batch_size_and_tells_its_structures(
    name: str, request: pytest.FixtureRequest
) -> None:
    directory = request.getfixturevalue(name)
    info = read_json(directory / "export.json", kind="export")
    assert info["parity"]["status"] == "passed"
    assert info["parity"]["dice"] > 0.999
    assert info["outputs"] == ["background", *STRUCTURES]
    model = onnx.load(directory / "model.onnx")
    onnx.checker.check_model(model, full_check=True)
    notes = {prop.key: prop.value for prop in model.metadata_props}
    assert json.loads(notes["lorkit.classes"]) == list(STRUCTURES)
    assert notes["lorkit.task"] == "segmentation"
    network = load_expert(directory.parent.parent).network
    with load_engine(directory) as engine:
        for batch in (1, 2, 5):
            images = np.random.default_rng(batch).random((batch, *engine.exported.shape), dtype=np.float32)
            with torch.inference_mode():
                wanted = network(torch.from_numpy(images)).numpy()
            assert wanted.shape == (batch, 3, *engine.exported.shape[1:])
            np.testing.assert_allclose(engine.run(images), wanted, atol=1e-4)
    (row,) = verify(directory).to_json()["exports"]
    assert row["flip_rate"] <= 1e-3
    assert row["dice"] > 0.99


def test_a_picture_gets_a_mask_of_its_own_size(flat: Path, tmp_path: Path) -> None:
    image = np.random.default_rng(1).integers(0, 255, (50, 41), dtype=np.uint8)
    Image.fromarray(image).save(tmp_path / "case.png")
    document = predict(flat, [tmp_path / "case.png"], out=tmp_path / "out").to_json()
    (row,) = document["predictions"]
    mask = np.asarray(Image.open(tmp_path / "out" / "case.png"))
    assert mask.shape == (50, 41)
    assert [found["pixels"] for found in row["structures"].values()] == [int((mask == value).sum()) for value in (1, 2)]
    with (tmp_path / "out" / "predictions.csv").open(encoding="utf-8") as stream:
        (line,) = csv.DictReader(stream)
    assert line["mask"] == "case.png"
    assert int(line["pixels_rim"]) == row["structures"]["rim"]["pixels"]
    with pytest.raises(UsageError, match="would replace an image"):
        predict(flat, [tmp_path / "case.png"], out=tmp_path)


def test_what_an_expert_cannot_take_is_refused_in_one_line(
    write_volume: Callable[..., Path], flat: Path, deep: Path, tmp_path: Path
) -> None:
    Image.fromarray(np.zeros((9, 9), dtype=np.uint8)).save(tmp_path / "flat.png")
    series = write_volume(tmp_path / "series.nii.gz", (9, 9, 9, 4))
    for path, network, words in (
        (tmp_path / "flat.png", deep, "is a picture"),
        (series, deep, "one volume of three axes"),
        (write_volume(tmp_path / "deep.nii"), flat, "is a volume or holds several frames"),
    ):
        with pytest.raises(DataError, match=words) as caught:
            predict(network, [path], out=tmp_path / "out")
        assert str(path) in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_pictures_show_outlines_only_of_what_an_export_may_hold(flat: Path) -> None:
    exported = read_exported(flat)
    assert pictures_of([exported]) == {"organ": []}  # seeded patterns are nobody's images
    mask = np.zeros((8, 8), dtype=np.uint8)
    mask[2:5, 2:5] = 1
    drawn = overlay(np.full((1, 8, 8), 0.5, dtype=np.float32), mask, np.zeros_like(mask))
    left, right = drawn[:, :256], drawn[:, -256:]
    assert (left == 128).all()
    assert (right != 128).any(axis=-1).mean() == pytest.approx(4 * 95 / 256**2, rel=0.02)


def test_a_volume_gets_its_mask_on_its_own_grid_however_it_is_stored(
    write_volume: Callable[..., Path], deep: Path, tmp_path: Path
) -> None:
    paths = [write_volume(tmp_path / f"{axes.lower()}.nii.gz", axes=axes) for axes in ("RAS", "LPS", "SLA")]
    rows = predict(deep, paths, out=tmp_path / "out").to_json()["predictions"]
    turned = []
    for path, row in zip(paths, rows, strict=True):
        image, mask = nib.load(path), nib.load(tmp_path / "out" / path.name)
        assert mask.shape == image.shape
        np.testing.assert_allclose(mask.affine, image.affine)
        assert mask.get_data_dtype() == np.uint8
        turned.append(np.asarray(nib.as_closest_canonical(mask).dataobj))
        count = int((turned[-1] == 1).sum())
        assert row["structures"]["core"] == {"voxels": count, "ml": pytest.approx(count * 0.006)}
    np.testing.assert_array_equal(turned[0], turned[1])
    np.testing.assert_array_equal(turned[0], turned[2])


def test_a_volume_that_states_two_sizes_is_measured_by_its_affine_and_that_is_said(
    write_volume: Callable[..., Path], deep: Path, tmp_path: Path
) -> None:
    path = write_volume(tmp_path / "a.nii")
    data = bytearray(path.read_bytes())
    data[80:84] = struct.pack("<f", 9.0)  # pixdim[1]
    (tmp_path / "b.nii").write_bytes(data)
    one, two = (predict(deep, [tmp_path / name]).to_json() for name in ("a.nii", "b.nii"))
    assert one["predictions"][0]["structures"] == two["predictions"][0]["structures"]
    assert not any("pixdim" in text for text in one["warnings"])
    assert any("b.nii: pixdim states 9 x" in text for text in two["warnings"])


def test_a_dicom_volume_is_measured_like_its_nifti_twin(deep: Path, tmp_path: Path) -> None:
    values = np.random.default_rng(0).integers(0, 4000, (6, 8, 7)).astype(np.uint16)  # slices, rows, columns
    folder = tmp_path / "scan"
    folder.mkdir()
    for index, plane in enumerate(values):
        write_dicom(folder / f"{index}.dcm", plane, SeriesInstanceUID="1.2.3", PixelSpacing=["0.5", "0.25"],
                    ImagePositionPatient=["0", "0", str(2 * index)],
                    ImageOrientationPatient=["-1", "0", "0", "0", "-1", "0"])  # fmt: skip
    twin = nib.Nifti1Image(values.transpose(2, 1, 0), np.diag([0.25, 0.5, 2.0, 1.0]))
    nib.save(twin, tmp_path / "scan.nii")
    found = predict(deep, [folder, tmp_path / "scan.nii"], allow_out_of_region=True).to_json()
    one, two = found["predictions"]
    assert one["structures"] == two["structures"]
    assert one["structures"]["core"]["ml"] == pytest.approx(one["structures"]["core"]["voxels"] * 0.00025)
    predict(deep, [folder, tmp_path / "scan.nii"], allow_out_of_region=True, out=tmp_path / "out")
    masks = [np.asarray(nib.load(path).dataobj) for path in sorted((tmp_path / "out").glob("*.nii.gz"))]
    assert len(masks) == 2
    assert np.bincount(masks[0].ravel()).tolist() == np.bincount(masks[1].ravel()).tolist()


def test_a_volume_without_orientation_is_said(deep: Path, tmp_path: Path) -> None:
    nib.save(nib.Nifti1Image(np.random.default_rng(0).random((8, 8, 8), dtype=np.float32), None), tmp_path / "a.nii")
    found = predict(deep, [tmp_path / "a.nii"], allow_out_of_region=True).to_json()
    assert any("a.nii: no orientation stated" in text for text in found["warnings"])


def test_the_example_agrees_with_predict(
    write_volume: Callable[..., Path], flat: Path, deep: Path, tmp_path: Path
) -> None:
    Image.fromarray(np.random.default_rng(2).integers(0, 255, (40, 50), dtype=np.uint8)).save(tmp_path / "a.png")
    blocked = "import runpy, sys; sys.modules['lorkit'] = sys.modules['torch'] = None; sys.argv[:] = sys.argv[1:]; "
    run = blocked + "runpy.run_path(sys.argv[0], run_name='__main__')"
    for network, path in ((flat, tmp_path / "a.png"), (deep, write_volume(tmp_path / "b.nii.gz", axes="LPS"))):
        predict(network, [path], out=tmp_path / "out")
        command = [
            sys.executable,
            "-c",
            run,
            str(network / "example.py"),
            str(path),
            str(tmp_path / f"own-{path.name}"),
        ]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, done.stderr
        load = (lambda file: np.asarray(Image.open(file))) if network is flat else (lambda file: nib.load(file).dataobj)
        own, theirs = load(tmp_path / f"own-{path.name}"), load(tmp_path / "out" / path.name)
        assert (np.asarray(own) != np.asarray(theirs)).mean() < 1e-3
