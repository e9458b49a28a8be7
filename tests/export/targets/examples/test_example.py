"""The example beside each engine needs no lorkit, and says what predict says."""

from __future__ import annotations

import json
import runpy
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from dicom_files import PIXELS, write_dicom, write_frames
from lone_scripts import alone, each_alone
from mixtures import RouterNetwork
from PIL import Image

from lorkit.decompose.data.formats.nifti_grid import nifti_bytes
from lorkit.decompose.data.preprocessing.recipe import apply_recipe
from lorkit.decompose.documents.recipe import Recipe
from lorkit.decompose.errors import DataError
from lorkit.decompose.regions import Region
from lorkit.export.building.exporting import export
from lorkit.export.building.packaging import READER, write_reader
from lorkit.export.prediction.inputs import read
from lorkit.export.prediction.prediction import predict
from lorkit.export.runtime.engine import load_engine
from lorkit.export.runtime.exported import Exported
from lorkit.export.targets import TARGETS, examples, get_target


def test_an_engines_own_example_agrees_with_predict(extracted: Path, tmp_path: Path) -> None:
    """That of AOTInductor is tested where a network is compiled."""
    run = Path(shutil.copytree(extracted, tmp_path / "run"))
    (result,) = export(run, region="chest", profile="cpu-generic", owners=("expert",), target="openvino").exports
    picture = tmp_path / "picture.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (40, 30), dtype=np.uint8)).save(picture)
    example = get_target("openvino").example
    found = alone(result.path / example.name, str(picture), without=("lorkit", "onnxruntime", "torch"))
    wanted = predict(result.path, [picture], allow_out_of_region=True, allow_synthetic=True).to_json()["predictions"][0]
    assert found["probabilities"] == pytest.approx(list(wanted["probabilities"].values()), abs=1e-4)
    assert found["not_for_diagnosis"] is True
    readme = (result.path / "README.md").read_text(encoding="utf-8")
    assert f"python {example.name} IMAGE.png" in readme
    assert "python example.py IMAGE.png" in readme


OTHERS = {"onnx": ("lorkit", "torch", "openvino"), "openvino": ("lorkit", "torch", "onnxruntime")}


@pytest.mark.parametrize("target", OTHERS)
def test_a_network_of_several_regions_runs_without_lorkit(
    target: str, tmp_path: Path, export_mixture: Callable[..., Exported]
) -> None:
    if not get_target(target).available().ok:
        pytest.skip(f"needs {target}")
    exported = export_mixture("region-id", target=target)
    script = exported.path / get_target(target).example.name
    pixels = np.random.default_rng(0).integers(0, 255, (16, 16), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "picture.png")
    with load_engine(exported.path) as engine:
        image = (pixels[None, None] / 255).astype(np.float32)
        wanted = [engine.infer({"image": image, "region": np.array([index])}) for index in (0, 1)]
    calls = [(str(tmp_path / "picture.png"), "--region", region) for region in ("chest", "knee")]
    answers = each_alone(script, *calls, without=OTHERS[target])
    for index, (region, found) in enumerate(zip(("chest", "knee"), answers, strict=True)):
        assert found["region"] == region
        assert found["logits"] == pytest.approx(wanted[index][f"logits_{region}"][0].tolist(), abs=1e-4)
        assert found["classes"] == list(exported.region.each[index].classes)
    command = [sys.executable, str(script), str(tmp_path / "picture.png")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, done.stderr) == (
        4, "error: region (none); required: --region with one of chest, knee\n"
    )  # fmt: skip


def test_a_router_answers_without_lorkit_or_abstains(tmp_path: Path, export_mixture: Callable[..., Exported]) -> None:
    """Images as bright as the centre of a region are surely of that region; none is as bright as the last."""
    for level, region in ((77, "chest"), (178, "knee")):
        Image.fromarray(np.full((16, 16), level, np.uint8)).save(tmp_path / f"{region}.png")
    Image.fromarray(np.full((16, 16), 128, np.uint8)).save(tmp_path / "between.png")
    exported = export_mixture("router", abstain_below=0.9)
    script, without = exported.path / "example.py", OTHERS["onnx"]
    shown = [(str(tmp_path / f"{name}.png"),) for name in ("chest", "knee", "between")]
    *answers, between = each_alone(script, *shown, without=without)
    for region, found in zip(("chest", "knee"), answers, strict=True):
        assert (found["region"], found["abstained"]) == (region, False)
        assert found["confidence"] == pytest.approx(found["region_probabilities"][region])
        assert len(found["probabilities"]) == len(found["classes"]) == {"chest": 2, "knee": 3}[region]
    assert (between["region"], between["abstained"], between["not_for_diagnosis"]) == (None, True, True)
    assert between["confidence"] == pytest.approx(0.5, abs=0.1)
    assert "probabilities" not in between
    readme = (exported.path / "README.md").read_text(encoding="utf-8")
    assert "- output `region_probabilities`: float32 (N, 2): chest, knee" in readme
    assert "- answer: of the head of the most probable region; none below a confidence of 0.900" in readme
    every = export_mixture("router", policy="all-heads")
    found = alone(every.path / "example.py", str(tmp_path / "between.png"), without=without)
    assert list(found["head_answers"]) == ["chest", "knee"]
    assert found["head_answers"][found["region"]]["logits"] == found["logits"]


def test_the_mean_over_heads_answers_where_classes_agree(
    tmp_path: Path, export_mixture: Callable[..., Exported]
) -> None:
    network = RouterNetwork(
        weighted=True, regions=[Region(name=name, classes=("a", "b")) for name in ("chest", "knee")]
    )
    exported = export_mixture("router", network, policy="weighted")
    Image.fromarray(np.full((16, 16), 128, np.uint8)).save(tmp_path / "between.png")
    found = alone(exported.path / "example.py", str(tmp_path / "between.png"), without=OTHERS["onnx"])
    with load_engine(exported.path) as engine:
        wanted = engine.infer({"image": np.full((1, 1, 16, 16), 128 / 255, np.float32)})
    assert found["logits"] == pytest.approx(wanted["logits"][0].tolist(), abs=1e-5)
    assert found["logits"] != pytest.approx(wanted[f"logits_{found['region']}"][0].tolist(), abs=1e-3)


def test_every_target_names_an_example_that_is_there() -> None:
    folder = Path(examples.__file__).parent
    for target in TARGETS.values():
        assert (folder / target.example.source).is_file()


def pictures(folder: Path) -> list[Path]:
    """Write a picture of every kind that users have, and of kinds that nobody can read."""
    rng = np.random.default_rng(0)
    gray8, colour = rng.integers(0, 256, (9, 12), dtype=np.uint8), rng.integers(0, 256, (9, 12, 3), dtype=np.uint8)
    gray16 = rng.integers(0, 65536, (9, 12), dtype=np.uint16)
    made = {
        "gray.png": Image.fromarray(gray8),
        "colour.png": Image.fromarray(colour),
        "palette.png": Image.fromarray(colour).quantize(16),
        "bits.png": Image.fromarray(gray8).convert("1"),
        "opaque.png": Image.fromarray(colour).convert("RGBA"),
        "transparent.png": Image.new("RGBA", (12, 9), (1, 2, 3, 4)),
        "deep.png": Image.fromarray(gray16),
        "deep.tif": Image.fromarray(gray16),
        "photo.jpg": Image.fromarray(colour),
        "print.jpg": Image.new("CMYK", (12, 9)),
        "old.bmp": Image.fromarray(colour),
        "unit.tif": Image.fromarray(rng.random((9, 12), dtype=np.float32)),
        "float.tif": Image.fromarray(rng.random((9, 12), dtype=np.float32) * 9),
        "hounsfield.tif": Image.fromarray(rng.integers(-1000, 1000, (9, 12), dtype=np.int32)),
        "nan.tif": Image.fromarray(np.full((9, 12), np.nan, np.float32)),
        "counts.tif": Image.fromarray(rng.integers(0, 1000, (9, 12), dtype=np.int32)),
    }
    for name, image in made.items():
        image.save(folder / name)
    Image.fromarray(gray8).save(folder / "keyed.png", transparency=int(gray8[0, 0]))
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(colour).save(folder / "turned.jpg", exif=exif)
    nib.save(nib.Nifti1Image(gray8[..., None], np.diag([-1.0, -1.0, 1.0, 1.0])), folder / "slice.nii.gz")
    nib.save(nib.Nifti1Image(rng.random((5, 6, 7), dtype=np.float32), np.eye(4)), folder / "volume.nii.gz")
    (folder / "damaged.nii.gz").write_bytes((folder / "volume.nii.gz").read_bytes()[:-9])
    write_dicom(folder / "plain.dcm")
    write_dicom(folder / "windowed.dcm", WindowCenter="900", WindowWidth="800", RescaleSlope="2")
    write_dicom(folder / "inverted.dcm", PhotometricInterpretation="MONOCHROME1")
    write_dicom(folder / "frames.dcm", np.stack([gray16, gray16]), NumberOfFrames="2")
    write_dicom(folder / "IM0001")
    (folder / "cut.dcm").write_bytes((folder / "plain.dcm").read_bytes()[:-9])
    (folder / "text.txt").write_text("no image", encoding="utf-8")
    (folder / "text.png").write_text("no image", encoding="utf-8")
    return sorted(folder.iterdir())


@pytest.fixture
def script(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, Any]]:
    """The functions of `example.py` beside a copy of the reader."""
    package = tmp_path / "package" / "export"
    package.mkdir(parents=True)
    write_reader(package / READER)
    shutil.copy(Path(examples.__file__).parent / "example.py", package)
    monkeypatch.syspath_prepend(str(package))
    yield runpy.run_path(str(package / "example.py"))
    for name in [name for name in sys.modules if name.startswith(READER)]:
        del sys.modules[name]


def same_answer(script: dict[str, Any], path: Path, recipe: Recipe) -> bool:
    """Return whether predict and the example answer; fail where they differ."""
    try:
        wanted = apply_recipe(recipe, read(path, recipe))
    except DataError:
        wanted = None
    try:
        found = script["prepare"](script["read"](str(path), recipe.to_json()), recipe.to_json())
    except SystemExit as end:
        found = None if end.code == 4 else end.code
    assert (found is None) == (wanted is None), path.name
    if wanted is not None:
        np.testing.assert_allclose(found, wanted, atol=1e-6, err_msg=path.name)
    return wanted is not None


@pytest.mark.parametrize("rule", ["dtype", "window", "percentile"])
def test_an_example_reads_what_predict_reads_and_refuses_what_it_refuses(
    tmp_path: Path, rule: str, script: dict[str, Any]
) -> None:
    bounds = {"dtype": {}, "window": {"low": -160.0, "high": 1200.0}, "percentile": {"low": 0.5, "high": 99.5}}[rule]
    steps = [
        {"op": "intensity", "rule": rule, **bounds},
        {"op": "resize", "size": [8, 8], "filter": "bilinear", "antialias": True},
        {"op": "channels", "count": 3},
        {"op": "normalise", "mean": [0.5] * 3, "std": [0.5] * 3},
    ]
    recipe = Recipe.model_validate({"version": 1, "steps": steps})
    (tmp_path / "files").mkdir()
    answers = {path.name: same_answer(script, path, recipe) for path in pictures(tmp_path / "files")}
    refused = {name for name, answered in answers.items() if not answered}
    always = {"transparent.png", "keyed.png", "print.jpg", "nan.tif", "volume.nii.gz", "damaged.nii.gz", "frames.dcm",
              "cut.dcm", "text.txt", "text.png"}  # fmt: skip
    assert refused == always | ({"float.tif", "hounsfield.tif", "counts.tif"} if rule == "dtype" else set())


def volumes(folder: Path) -> list[Path]:
    """Write volumes of every kind, and what is none."""
    rng = np.random.default_rng(0)
    values = rng.integers(0, 1000, (5, 6, 7)).astype(np.int16)
    nib.save(nib.Nifti1Image(values, np.diag([-1.0, 1.0, 2.0, 1.0])), folder / "plain.nii.gz")
    nib.save(nib.Nifti1Image(values, None), folder / "unplaced.nii")
    nib.save(nib.Nifti1Image(values[..., :2], np.eye(4)), folder / "thin.nii")
    nib.save(nib.Nifti1Image(np.full((5, 6, 7), np.nan, np.float32), np.eye(4)), folder / "nan.nii")
    nib.save(nib.Nifti1Image(np.stack([values] * 2, axis=-1), np.eye(4)), folder / "time.nii")
    colour = {"SamplesPerPixel": 3, "PhotometricInterpretation": "RGB", "PlanarConfiguration": 0, "BitsAllocated": 8,
              "BitsStored": 8, "HighBit": 7}  # fmt: skip
    write_dicom(folder / "cine.dcm", np.zeros((5, 4, 4, 3), np.uint8), NumberOfFrames="5", **colour)
    write_dicom(folder / "frames.dcm", np.stack([PIXELS] * 5), NumberOfFrames="5")
    write_frames(folder / "placed.dcm", [0.0, 2.0, 4.0, 6.0])
    write_dicom(folder / "slice.dcm")
    for name, series in (("series", "1.2.3"), ("mixed", "")):
        (folder / name).mkdir()
        for index in range(5):
            places = {"ImagePositionPatient": ["0", "0", str(2 * index)], "PixelSpacing": ["1", "1"],
                      "ImageOrientationPatient": ["1", "0", "0", "0", "1", "0"]}  # fmt: skip
            uid = series or f"1.2.{index}"
            write_dicom(folder / name / f"{index}.dcm", PIXELS + index, SeriesInstanceUID=uid, **places)
    return sorted(folder.iterdir())


def test_an_example_reads_the_volumes_that_predict_reads(tmp_path: Path, script: dict[str, Any]) -> None:
    steps = [
        {"op": "intensity", "rule": "percentile", "low": 0.5, "high": 99.5},
        {"op": "resize", "size": [8, 8, 8], "filter": "trilinear", "antialias": True},
        {"op": "channels", "count": 1},
        {"op": "normalise", "mean": [0.5], "std": [0.5]},
    ]
    recipe = Recipe.model_validate({"version": 2, "axes": "RAS", "steps": steps})
    (tmp_path / "files").mkdir()
    answered = {path.name for path in volumes(tmp_path / "files") if same_answer(script, path, recipe)}
    assert answered == {"plain.nii.gz", "unplaced.nii", "placed.dcm", "series"}


@pytest.mark.parametrize("name", ["plain.nii.gz", "unplaced.nii"])
def test_a_mask_that_an_example_writes_is_that_of_predict(tmp_path: Path, script: dict[str, Any], name: str) -> None:
    volumes(tmp_path)
    mask = np.random.default_rng(0).integers(0, 3, (5, 6, 7)).astype(np.uint8)
    script["write"](mask, str(tmp_path / "mask.nii.gz"), str(tmp_path / name))
    assert (tmp_path / "mask.nii.gz").read_bytes() == nifti_bytes(mask, tmp_path / name)


@pytest.mark.parametrize(("source", "target"), [("series", "m.nii.gz"), ("plain.nii.gz", "m.png")])
def test_an_example_refuses_a_mask_that_predict_refuses(
    tmp_path: Path, script: dict[str, Any], source: str, target: str
) -> None:
    volumes(tmp_path)
    with pytest.raises(SystemExit) as ended:
        script["write"](np.zeros((5, 4, 4), np.uint8), str(tmp_path / target), str(tmp_path / source))
    assert ended.value.code == 4
    assert not (tmp_path / target).exists()


STRANGER = """
import json, sys
import numpy as np, onnxruntime, torch
from PIL import Image
about = json.load(open(sys.argv[1] + "/export.json"))
steps = {step["op"]: step for step in about["recipe"]["steps"]}
image = np.asarray(Image.open(sys.argv[2]).convert("L"), dtype=np.float32) / 255
tensor = torch.from_numpy(image)[None, None]
size = steps["resize"]["size"]
tensor = torch.nn.functional.interpolate(tensor, size, mode="bilinear", antialias=steps["resize"]["antialias"])
batch = tensor.expand(1, steps["channels"]["count"], *size).numpy()
logits = onnxruntime.InferenceSession(sys.argv[1] + "/model.onnx").run(None, {"image": batch})[0][0]
shares = np.exp(logits - logits.max())
print(json.dumps((shares / shares.sum()).tolist()))
"""


def test_a_program_written_from_the_readme_answers_as_predict_does(extracted: Path, tmp_path: Path) -> None:
    run = Path(shutil.copytree(extracted, tmp_path / "run"))
    (result,) = export(run, region="chest", profile="cpu-generic", owners=("expert",)).exports
    pixels = np.random.default_rng(0).integers(0, 255, (301, 47), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "picture.png")
    (tmp_path / "stranger.py").write_text(STRANGER, encoding="utf-8")
    command = [sys.executable, str(tmp_path / "stranger.py"), str(result.path), str(tmp_path / "picture.png")]
    found = json.loads(subprocess.run(command, capture_output=True, text=True, check=True, timeout=120).stdout)
    wanted = predict(result.path, [tmp_path / "picture.png"], allow_out_of_region=True, allow_synthetic=True)
    assert found == pytest.approx(list(wanted.to_json()["predictions"][0]["probabilities"].values()), abs=1e-5)
    assert "bilinear, antialias" in (result.path / "README.md").read_text(encoding="utf-8")
