"""Evaluation, gate and the files that `predict` writes agree, with the masks as their files state them.

The reference opens the written masks and the annotated ones with Pillow or nibabel, on the grid of the files.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import torch
from monai.metrics.hausdorff_distance import compute_hausdorff_distance
from monai.metrics.surface_dice import compute_surface_dice
from numpy.typing import NDArray
from PIL import Image

from lorkit.decompose.artifacts.arrays import Float32Array
from lorkit.decompose.evaluation.evaluation import evaluate
from lorkit.decompose.evaluation.inference import collect_score_inputs
from lorkit.decompose.evaluation.scoring import task_scores
from lorkit.decompose.runs import ExportSelection
from lorkit.decompose.runs.locked_data import prepare_file
from lorkit.export.noninferiority.accuracy import AccuracyTest, judge_accuracy
from lorkit.export.noninferiority.cases import EvaluationCases, cases_of_file
from lorkit.export.prediction import segmentation
from lorkit.export.prediction.inputs import stem
from lorkit.export.prediction.network import open_network
from lorkit.export.prediction.prediction import predict
from lorkit.export.prediction.preparation import prepare_image
from lorkit.export.prediction.sources import source_of
from lorkit.export.prediction.writers.registry import writer_of
from lorkit.export.prediction.writers.spool import Spool
from lorkit.export.prediction.writers.target import MaskTarget
from lorkit.export.runtime.engine import load_engine
from lorkit.export.runtime.exported import ExportPair, read_exported

STRUCTURES = ("core", "rim")
Volume = NDArray[np.uint8]


def blobs(shape: tuple[int, ...], seed: int) -> tuple[NDArray[np.uint8], Volume]:
    """Draw an image and a mask that have nothing to do with each other, with ignored pixels."""
    rng = np.random.default_rng(seed)
    mask = np.zeros(shape, np.uint8)
    for value in (1, 2):
        middle = [rng.integers(side // 4, side // 2 + 1) for side in shape]
        mask[tuple(slice(at, at + side // 3) for at, side in zip(middle, shape, strict=True))] = value
    mask[0] = 255
    return rng.integers(0, 255, shape, dtype=np.uint8), mask


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """Five images and their masks, as an `.npz` and as PNG files."""
    images, masks = zip(*(blobs((50, 41), seed) for seed in range(5)), strict=True)
    (tmp_path / "png").mkdir()
    for index, image in enumerate(images):
        Image.fromarray(image).save(tmp_path / "png" / f"{index}.png")
    np.savez(tmp_path / "data.npz", images=np.stack(images), masks=np.stack(masks), mask_names=np.array(STRUCTURES))
    return tmp_path / "data.npz"


@pytest.fixture
def volumes(tmp_path: Path) -> Path:
    """Three volumes of other sizes and axes, with voxels of 1 x 2 x 3 mm."""
    turns = nib.orientations
    for index, axes in enumerate(("RAS", "LPS", "SLA")):
        image, mask = blobs((20 + index, 18, 15), index)
        mask[mask == 255] = 3
        for folder, values in (("images", image), ("labels", mask)):
            (tmp_path / "set" / folder).mkdir(parents=True, exist_ok=True)
            straight = nib.Nifti1Image(values, np.diag([1.0, 2.0, 3.0, 1.0]))
            turn = turns.ornt_transform(turns.io_orientation(straight.affine), turns.axcodes2ornt(axes))
            nib.save(straight.as_reoriented(turn), tmp_path / "set" / folder / f"{index}.nii.gz")
    (tmp_path / "set" / "dataset.json").write_text(
        '{"labels": {"background": 0, "core": 1, "rim": 2, "ignore": 3}}', encoding="utf-8"
    )
    return tmp_path / "set"


def files_of(data: Path) -> list[tuple[Path, Volume, Any]]:
    """Each image with its annotated mask on the grid of the file, ignored pixels 255, and its spacing."""
    if data.suffix == ".npz":
        masks = np.load(data)["masks"]
        return [(data.parent / "png" / f"{index}.png", mask, (1.0, 1.0)) for index, mask in enumerate(masks)]
    found = []
    for path in sorted((data / "images").iterdir()):
        label = nib.load(data / "labels" / path.name)
        mask = np.asarray(label.dataobj)
        found.append((path, np.where(mask == 3, 255, mask), label.header.get_zooms()))
    return found


def written(path: Path) -> Volume:
    return np.asarray(Image.open(path)) if path.suffix == ".png" else np.asarray(nib.load(path).dataobj)


def reference(data: Path, masks: Path) -> dict[str, NDArray[np.float64]]:
    """Compare the masks of a folder with the annotated ones: (N, S) by metric."""
    rows = []
    for path, wanted, spacing in files_of(data):
        found, row = written(masks / path.name), []
        counted = wanted != 255
        for value in (1, 2):
            one, two = counted & (found == value), counted & (wanted == value)
            dice = 2 * (one & two).sum() / (one.sum() + two.sum())
            nsd, hd95 = 0.0, np.nan
            if one.any() and two.any():
                hot = [torch.from_numpy(np.ascontiguousarray(mask))[None, None] for mask in (one, two)]
                sides = {"include_background": True, "spacing": list(map(float, spacing))}
                nsd = float(compute_surface_dice(*hot, class_thresholds=[1.0], **sides))
                hd95 = float(compute_hausdorff_distance(*hot, percentile=95, **sides))
            row.append((dice, nsd, hd95))
        rows.append(row)
    dice, nsd, hd95 = np.moveaxis(np.array(rows), -1, 0)
    return {"dice": dice, "nsd": nsd, "hd95": hd95}


CASES = pytest.mark.parametrize(
    ("network", "data", "unit"), [("flat", "pictures", "pixels"), ("deep", "volumes", "mm")]
)


@CASES
def test_evaluation_scores_the_files_that_predict_writes(
    network: str, data: str, unit: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    expert, source = request.getfixturevalue(network).parent.parent, request.getfixturevalue(data)
    predict(expert, [path for path, *_ in files_of(source)], out=tmp_path / "out")
    wanted = reference(source, tmp_path / "out")
    (block,) = evaluate(expert, data=source).regions.values()
    assert block.task == "segmentation"
    assert block.unit == unit
    for metric, cases in wanted.items():
        means = [np.nanmean(column) if np.isfinite(column).any() else None for column in cases.T]
        assert [getattr(row, metric) for row in block.per_structure] == pytest.approx(means), metric
        assert block.value(metric) == (None if None in means else pytest.approx(np.mean(means)))
    assert [row.hd95_undefined for row in block.per_structure] == np.isnan(wanted["hd95"]).sum(0).tolist()
    assert block.dice != pytest.approx(block.dice_network_grid, abs=1e-6)


@CASES
def test_the_gate_judges_the_files_that_predict_writes(
    network: str, data: str, unit: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    export, source = request.getfixturevalue(network), request.getfixturevalue(data)
    predict(export, [path for path, *_ in files_of(source)], out=tmp_path / "out")
    exported = read_exported(export)
    pair = ExportPair(exported, exported)
    with load_engine(export) as engine:
        other = SimpleNamespace(run=lambda images: -engine.run(images))
        block = judge_accuracy(pair, (engine, other), cases_of_file(source, pair), AccuracyTest(allowed=0.02))
    assert block.baseline == pytest.approx(reference(source, tmp_path / "out")["dice"].mean())
    assert block.flip_rate is not None
    assert block.flip_rate > 0.5, "the other network answers what this one holds least probable"


@CASES
def test_a_perfect_network_is_judged_by_what_its_files_hold(
    network: str, data: str, unit: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    """It knows the mask at its own size; the Dice on the grid of the files is the same everywhere, and below 1."""
    export, source = request.getfixturevalue(network), request.getfixturevalue(data)
    exported = read_exported(export)
    prepared = prepare_file(source, exported.region, exported.recipe)
    assert prepared.masks is not None
    hot = 9.0 * np.eye(3, dtype=np.float32)
    logits = [np.moveaxis(hot[np.where(mask == 255, 0, mask)], -1, 0) for mask in prepared.masks]

    def network_of() -> Callable[[Float32Array], Float32Array]:
        rows: Iterator[Float32Array] = iter(logits)
        return lambda batch: np.stack([next(rows) for _ in batch])

    opened, spool = open_network(export, None, ExportSelection(), None), Spool()
    for (path, *_), one in zip(files_of(source), logits, strict=True):
        target = MaskTarget(spool, stem(path), writer_of(path), source_of([opened]))
        segmentation.row(exported.region, prepare_image(opened, path), one, target)
    for name in spool:
        (tmp_path / name).write_bytes(spool.read(name))
    spool.close()
    wanted = reference(source, tmp_path)["dice"].mean()
    found = task_scores(prepared, collect_score_inputs(network_of(), prepared))
    engines = (SimpleNamespace(run=network_of()), SimpleNamespace(run=network_of()))
    cases = EvaluationCases(read=lambda recipe: prepared, source="here")
    manifest = exported.manifest.model_copy(update={"digest": "0" * 64})
    pair = ExportPair(exported, replace(exported, manifest=manifest))
    block = judge_accuracy(pair, engines, cases, AccuracyTest(allowed=0.02))
    assert found.value("dice") == pytest.approx(wanted)
    assert block.baseline == block.candidate == pytest.approx(wanted)
    assert wanted < 0.98
    assert found.value("dice_network_grid") == 1.0
    assert block.dice_network_grid_by_side == {"baseline": 1.0, "candidate": 1.0}
