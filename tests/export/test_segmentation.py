"""Experts of masks and of volumes on the deployment path: export, verify, predict, gate, report and the example."""

from __future__ import annotations

import csv
import importlib.util
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import onnx
import pytest
import torch
from PIL import Image
from torch import nn

from lorkit.decompose.artifacts import read_json, save_tensors, write_json, write_manifest
from lorkit.decompose.data.prepared import PreparedRegion
from lorkit.decompose.errors import DataError, UsageError
from lorkit.decompose.metrics.paired import paired_means
from lorkit.decompose.metrics.segmentation import mask_dice
from lorkit.decompose.models.backbones.registry import build_backbone
from lorkit.decompose.regions import Region
from lorkit.decompose.runs import expert as expert_artifact
from lorkit.decompose.runs.expert import load_expert, plain_network
from lorkit.export.building.exporting import export
from lorkit.export.building.verification import verify
from lorkit.export.noninferiority.accuracy import AccuracyTest, judge_accuracy
from lorkit.export.noninferiority.cases import EvaluationCases
from lorkit.export.noninferiority.multiplicity import explain_accuracy
from lorkit.export.prediction.masks import decode_at
from lorkit.export.prediction.prediction import predict
from lorkit.export.reporting.pictures import overlay, pictures_of
from lorkit.export.runtime.engine import load_engine
from lorkit.export.runtime.exported import ExportPair, read_exported

STRUCTURES = ("core", "rim")


def write_expert(directory: Path, size: tuple[int, ...], *, task: str = "segmentation", seed: int = 0) -> Path:
    """Write an extracted expert around a U-Net, or around a classifier, with weights that nobody trained."""
    classes = STRUCTURES if task == "segmentation" else ("no", "yes")
    region = Region(name="organ", task=task, classes=classes)
    backbone = {"segmentation": {2: "small", 3: "unet"}, "classification": {3: "small"}}[task][len(size)]
    torch.manual_seed(seed)
    network = plain_network(backbone, channels=1, size=size, region=region)
    filters, version = {2: ("bilinear", {"version": 1}), 3: ("trilinear", {"version": 2, "axes": "RAS"})}[len(size)]
    steps: list[dict[str, Any]] = [
        {"op": "intensity", "rule": "percentile", "low": 0.5, "high": 99.5},
        {"op": "resize", "size": list(size), "filter": filters},
        {"op": "channels", "count": 1},
        {"op": "normalise", "mean": [0.5], "std": [0.25]},
    ]
    directory.mkdir(parents=True)
    info = {
        "schema_version": 1, "kind": "expert", "region": "organ", "task": task, "classes": list(classes),
        "modality": None, "backbone": backbone, "image": {"size": list(size), "channels": 1},
        "recipe": {**version, "steps": steps}, "normalise": {"mean": [0.5], "std": [0.25]}, "in_region": None,
        "synthetic": False, "parameters": 1, "macs": 1, "output": {"name": "logits", "channels": 1}, "gray": True,
        "recalibrated": False, "data": {},
        "validation": {"n": 0, "groups": 0, "dice": None, "ci": {}, "per_structure": []},
        "source": {"run": "r", "run_manifest": 64 * "0", "method": "stl", "foundation": "small", "lorkit": "0.1.0"},
        "equality": {
            "n": 1, "max_abs_difference": 0.0, "tolerance": 1.0, "label_flips": 0, "inputs": "real", "split": "val"
        },
    }  # fmt: skip
    save_tensors(directory / "model.safetensors", network.state_dict(), {"format": "pt"})
    write_json(directory / "expert.json", info)
    write_manifest(directory, "expert", synthetic=False, inputs="by hand", extra={"region": "organ", "task": task})
    return directory


class Small(nn.Module):
    """A backbone of one layer, of pictures and of volumes: tracing a real one costs seconds."""

    feature_dim, head_name = 4, "head"

    def __init__(self, dims: int, *, dense: bool) -> None:
        super().__init__()
        self.layer = (nn.Conv2d if dims == 2 else nn.Conv3d)(1, 4, 3, padding=1)
        self.head, self.dense_dims = nn.Identity(), dims if dense else 0

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        maps = torch.relu(self.layer(image))
        return self.head(maps if self.dense_dims else maps.flatten(2).mean(2))


@pytest.fixture(scope="module", autouse=True)
def small_backbone() -> Iterator[None]:
    """The backbone `small`, beside the registry's own."""

    def build(name: str, **options: Any) -> nn.Module:
        if name != "small":
            return build_backbone(name, **options)
        return Small(len(options["image_size"]), dense=options["dense"])

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(expert_artifact, "build_backbone", build)
        yield


@pytest.fixture(scope="module")
def flat(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A segmenter of pictures, exported into itself."""
    expert = write_expert(tmp_path_factory.mktemp("flat") / "expert", (32, 16))
    return export(expert, profile="cpu-generic")[0].path


@pytest.fixture(scope="module")
def deep(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A segmenter of volumes, exported into itself."""
    expert = write_expert(tmp_path_factory.mktemp("deep") / "expert", (32, 16, 16))
    return export(expert, profile="cpu-generic")[0].path


def volume(path: Path, shape: tuple[int, ...] = (9, 14, 11), *, axes: str = "RAS") -> Path:
    """Write a volume whose voxels are 1 x 2 x 3 mm towards right, anterior and superior, stored along `axes`."""
    values = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    image = nib.Nifti1Image(values, np.diag([1.0, 2.0, 3.0, 1.0]))
    turn = nib.orientations.ornt_transform(
        nib.orientations.io_orientation(image.affine), nib.orientations.axcodes2ornt(axes)
    )
    nib.save(image.as_reoriented(turn) if len(shape) == 3 else image, path)
    return path


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
            images = np.random.default_rng(batch).random((batch, *engine.shape), dtype=np.float32)
            with torch.inference_mode():
                wanted = network(torch.from_numpy(images)).numpy()
            assert wanted.shape == (batch, 3, *engine.shape[1:])
            np.testing.assert_allclose(engine.run(images), wanted, atol=1e-4)
    (row,) = verify(directory).to_json()["exports"]
    assert row["flip_rate"] <= 1e-3
    assert row["dice"] > 0.99


def test_a_classifier_of_volumes_is_exported_and_predicts(tmp_path: Path) -> None:
    expert = write_expert(tmp_path / "expert", (8, 10, 12), task="classification")
    (result,) = export(expert, profile="cpu-generic")
    one, two = (
        predict(path, [volume(tmp_path / "a.nii.gz")]).to_json()["predictions"][0]["probabilities"]
        for path in (expert, result.path)
    )
    assert one == pytest.approx(two, abs=1e-5)


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


def test_a_volume_gets_its_mask_on_its_own_grid_however_it_is_stored(deep: Path, tmp_path: Path) -> None:
    paths = [volume(tmp_path / f"{axes.lower()}.nii.gz", axes=axes) for axes in ("RAS", "LPS", "SLA")]
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


def test_what_an_expert_cannot_take_is_refused_in_one_line(flat: Path, deep: Path, tmp_path: Path) -> None:
    Image.fromarray(np.zeros((9, 9), dtype=np.uint8)).save(tmp_path / "flat.png")
    series = volume(tmp_path / "series.nii.gz", (9, 9, 9, 4))
    for path, network, words in (
        (tmp_path / "flat.png", deep, "is no volume"),
        (series, deep, "one volume of three axes"),
        (volume(tmp_path / "deep.nii"), flat, "is a volume of shape"),
    ):
        with pytest.raises(DataError, match=words) as caught:
            predict(network, [path], out=tmp_path / "out")
        assert str(path) in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_the_example_agrees_with_predict(flat: Path, deep: Path, tmp_path: Path) -> None:
    Image.fromarray(np.random.default_rng(2).integers(0, 255, (40, 50), dtype=np.uint8)).save(tmp_path / "a.png")
    blocked = "import runpy, sys; sys.modules['lorkit'] = sys.modules['torch'] = None; sys.argv[:] = sys.argv[1:]; "
    run = blocked + "runpy.run_path(sys.argv[0], run_name='__main__')"
    for network, path in ((flat, tmp_path / "a.png"), (deep, volume(tmp_path / "b.nii.gz", axes="LPS"))):
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


def test_the_gate_judges_the_dice_of_each_case(flat: Path, tmp_path: Path) -> None:
    exported = read_exported(flat)
    rng = np.random.default_rng(0)
    images = rng.random((12, 1, 32, 16), dtype=np.float32)
    with load_engine(flat) as engine:
        masks = engine.run(images).argmax(1).astype(np.uint8)
        prepared = PreparedRegion(
            region=exported.as_region(), recipe=exported.recipe, stored=images, labels=np.zeros(12, dtype=np.int64),
            groups=tuple(f"p{index // 2}" for index in range(12)), ids=("",) * 12,
            digests=tuple("abcdefghijkl"), target_names=("m",) * 12, masks=masks,
        )  # fmt: skip
        cases = EvaluationCases(read=lambda recipe: prepared, source="here")
        block = judge_accuracy(ExportPair(exported, exported), (engine, engine), cases, AccuracyTest(allowed=0.02))
    assert block["metric"] == "dice"
    assert (block["verdict"], len(block["absent"])) == ("inconclusive", 1)  # nothing shows the other structure
    assert block["ci"][1] < block["allowed"]
    assert (block["drop"], block["baseline"], block["flip_rate"]) == (0.0, 1.0, 0.0)
    assert "in mean Dice" in explain_accuracy(block)[0]
    assert [row["verdict"] for row in block["structures"]] == ["not_judged", "pass"]
    json.dumps(block, allow_nan=False)


def test_few_groups_get_wide_intervals() -> None:
    rng = np.random.default_rng(0)
    one = rng.uniform(0.6, 0.9, (40, 2))
    two = one - 0.05 + rng.normal(0, 0.02, one.shape)
    few, many = (paired_means(one, two, np.arange(40) % groups) for groups in (4, 40))
    assert many.ci[0] < many.drop < many.ci[1]
    assert few.decidable > many.decidable
    assert paired_means(one, two, np.zeros(40)).ci == (-1.0, 1.0)
    with pytest.raises(DataError, match="without any structure"):
        paired_means(np.full((3, 1), np.nan), np.full((3, 1), np.nan), np.arange(3))


def test_few_groups_seldom_pass_what_loses_as_much_as_is_allowed() -> None:
    rng = np.random.default_rng(0)
    for groups in (6, 9):
        passed = 0
        for seed in range(100):
            lost = rng.normal(0.05, 0.05, (groups, 1))
            found = paired_means(np.full_like(lost, 0.7), 0.7 - lost, np.arange(groups), seed=seed, replicates=300)
            passed += found.ci[1] < 0.05
        assert passed <= 8  # of 2.5 expected
    same = np.full((5, 1), 0.7)
    assert paired_means(same, same, np.arange(5)).ci == (-1.0, 1.0)


def test_dice_and_masks_at_other_sizes() -> None:
    found, wanted = np.array([[1, 1], [0, 2]]), np.array([[1, 0], [0, 0]])
    np.testing.assert_allclose(mask_dice(found, wanted, 3), [2 / 3, 0.0, np.nan])
    logits = np.zeros((2, 4, 4), dtype=np.float32)
    logits[1, :, :2], logits[1, :, 2:] = 5.0, -5.0
    large = decode_at(logits, (8, 12))
    assert large.shape == (8, 12)
    assert large[:, :6].all()
    assert not large[:, 6:].any()


def test_pictures_show_outlines_only_of_what_an_export_may_hold(flat: Path) -> None:
    exported = read_exported(flat)
    assert pictures_of([exported]) == {"organ": []}  # seeded patterns are nobody's images
    mask = np.zeros((8, 8), dtype=np.uint8)
    mask[2:5, 2:5] = 1
    drawn = overlay(np.full((1, 8, 8), 0.5, dtype=np.float32), mask, np.zeros_like(mask))
    left, right = drawn[:, :256], drawn[:, -256:]
    assert (left == 128).all()
    assert (right != 128).any(axis=-1).mean() == pytest.approx(4 * 95 / 256**2, rel=0.02)


@pytest.mark.parametrize("method", ["rd", "drd"])
def test_a_taught_expert_runs_without_teacher_packages(tmp_path: Path, method: str) -> None:
    from lorkit.decompose.extraction.extraction import extract
    from lorkit.decompose.runs.networks import RunNetworks

    place = Path(__file__).parent.parent / "decompose" / "conftest.py"
    spec = importlib.util.spec_from_file_location("small_runs_rd", place)
    assert spec is not None
    assert spec.loader is not None
    small = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(small)
    config = small.small_config(tmp_path, name="small", method=method, **{"student.backbone": "resnet18"})
    run = small.write_run(config, tmp_path / "runs" / "small")
    (expert, *_) = extract(run, region="chest")
    images = torch.rand(3, 1, 16, 16, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        live = RunNetworks(run).expert("chest").eval()
        wanted = live(images)
    np.savez(tmp_path / "wanted.npz", images=images.numpy(), logits=wanted.numpy())
    script = f"""
import sys
for name in ("timm", "monai", "onnxruntime", "onnx", "teacher"):
    sys.modules[name] = None  # what imports it gets an ImportError
import numpy as np, torch
from lorkit.decompose.models.backbones.resnet import resnet18
from lorkit.decompose.runs.expert import load_expert
from safetensors.torch import load_file
torch.set_num_threads({torch.get_num_threads()})
stored = np.load({str(tmp_path / "wanted.npz")!r})
images, wanted = torch.from_numpy(stored["images"]), torch.from_numpy(stored["logits"])
expert = load_expert({str(expert.path)!r})
plain = resnet18(1)
plain.fc = torch.nn.Linear(512, 2)
plain.load_state_dict(load_file({str(expert.path / "model.safetensors")!r}))
plain.eval()
with torch.inference_mode():
    assert torch.equal(expert.network(images), wanted), "load_expert"
    assert torch.equal(plain(expert.network.normalise(images)), wanted), "public class"
    assert torch.equal(torch.export.load({str(expert.path / "model.pt2")!r}).module()(images), wanted), "program"
print("equal")
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=300, check=False)
    assert done.stdout.strip() == "equal", done.stderr
