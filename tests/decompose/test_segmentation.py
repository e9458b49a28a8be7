"""Segmentation and volumes from data to extracted experts, on small files written here."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch
import yaml
from torch import Tensor, nn

from lorkit.decompose.config import Config, load_config
from lorkit.decompose.errors import UsageError
from lorkit.decompose.evaluation.comparison.cells import scores_by_case
from lorkit.decompose.evaluation.evaluation import evaluate
from lorkit.decompose.evaluation.inference import collect_score_inputs
from lorkit.decompose.extraction.extraction import extract
from lorkit.decompose.models.backbones.registry import BACKBONES, Known
from lorkit.decompose.runs import open_run
from lorkit.decompose.runs.expert import load_expert
from lorkit.decompose.runs.locked_data import RunSplits
from lorkit.decompose.training.training import train


def write_pictures(path: Path, count: int = 24, size: int = 16) -> None:
    """Write bright squares on noise, and where they are."""
    rng = np.random.default_rng(0)
    images, masks = rng.integers(0, 80, (count, size, size), dtype=np.uint8), np.zeros((count, size, size), np.uint8)
    for image, mask in zip(images, masks, strict=True):
        top, left = rng.integers(0, size // 2, 2)
        mask[top : top + size // 2, left : left + size // 2] = 1
        image[mask > 0] += 150
    np.savez(path, images=images, masks=masks, mask_names=np.array(["background", "square"]))


def write_volumes(root: Path, count: int = 12) -> None:
    """Write bright boxes as NIfTI pairs."""
    rng = np.random.default_rng(0)
    for case in range(count):
        image = rng.integers(0, 80, (17, 18, 16)).astype(np.int16)
        mask = np.zeros(image.shape, np.uint8)
        mask[4:12, 4 : 8 + case % 4, 4:12] = 1
        image[mask > 0] += 150
        for folder, values in (("images", image), ("labels", mask)):
            (root / folder).mkdir(parents=True, exist_ok=True)
            nibabel.save(nibabel.Nifti1Image(values, np.eye(4)), root / folder / f"case_{case:02d}.nii.gz")


def config_of(
    path: Path, size: list[int], region: dict[str, object], *, unet: str = "tiny_unet", **settings: object
) -> Config:
    document = {
        "image": {"size": size, "channels": 1},
        "split": {"val": 0.2, "test": 0.3},
        "regions": {"box": region},
        "foundation": {"backbone": unet, "epochs": 1},
        "student": {"backbone": unet},
        "train": {"epochs": 4, "batch_size": 6, "lr": 0.01, "weight_decay": 0.0, "warmup_epochs": 0},
        **settings,
    }
    path.write_text(yaml.safe_dump(document), encoding="utf-8")
    return load_config(path)


@pytest.mark.parametrize("volumes", [False, True])
@pytest.mark.usefixtures("tiny", "without_program")
def test_from_files_to_an_expert(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, volumes: bool) -> None:
    monkeypatch.chdir(tmp_path)
    if volumes:
        write_volumes(tmp_path / "msd")
        region: dict[str, object] = {"data": "msd", "structures": ["box"], "intensity": "percentile"}
        config = config_of(tmp_path / "d.yaml", [16, 16, 16], {**region, "nsd_tolerance_mm": 0.5})
    else:
        write_pictures(tmp_path / "a.npz")
        region = {"data": "a.npz", "nsd_tolerance_mm": {"square": 0.5}}
        config = config_of(tmp_path / "d.yaml", [16, 16], region, unet="unet")
    run = train(config.model_copy(update={"method": "stl"})).run
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert {row["metric"] for row in rows} == {"dice_network_grid"}
    assert 0.3 < max(row["val"]["mean"] for row in rows) <= 1
    (result,) = extract(run)
    info = json.loads((result.path / "expert.json").read_text())
    assert (info["task"], info["network_output"]["channels"], info["image"]["size"]) == (
        "segmentation",
        2,
        list(config.image.size),
    )
    assert info["recipe"].get("axes") == ("RAS" if volumes else None)
    assert "| Dice of " in (result.path / "README.md").read_text()
    block = evaluate(run).to_json()["regions"]["box"]
    assert block["source"] == "extracted"
    source = tmp_path / ("msd" if volumes else "a.npz")
    (again,), (alone,) = (evaluate(one, data=source).regions.values() for one in (run, result.path))
    for found in (block, again.to_json(), alone.to_json()):
        assert found["unit"] == ("mm" if volumes else "pixels")
        assert list(found["nsd_tolerance"].values()) == [0.5]
    part = RunSplits(open_run(run)).part("box", "test")
    cases = scores_by_case(part, collect_score_inputs(load_expert(result.path).network, part))
    assert block["dice"] == pytest.approx(np.nanmean(cases))
    assert evaluate(run, model="foundation").to_json()["means"].keys() == {"dice", "nsd", "hd95", "dice_network_grid"}


class Tiny(nn.Module):
    """A backbone of volumes, small enough for a test."""

    feature_dim, head_name = 4, "fc"

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv, self.fc = nn.Conv3d(channels, 4, 3, 2), nn.Identity()

    def forward(self, image: Tensor) -> Tensor:
        features: Tensor = self.fc(torch.relu(self.conv(image)).mean((2, 3, 4)))
        return features


def test_volumes_are_classified(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    labels = np.arange(16) % 2
    images = np.random.default_rng(0).random((16, 8, 9, 8)).astype(np.float32) * 0.5 + 0.5 * labels[:, None, None, None]
    np.savez(tmp_path / "a.npz", images=images, labels=labels)
    monkeypatch.setitem(BACKBONES, "tiny", Known(lambda channels, size: Tiny(channels), (3,)))
    backbones = {"foundation": {"backbone": "tiny", "epochs": 1}, "student": {"backbone": "tiny"}}
    config = config_of(tmp_path / "d.yaml", [8, 8, 8], {"data": "a.npz"}, **backbones)
    settings = config.train.model_copy(update={"epochs": 1})
    run = train(config.model_copy(update={"method": "stl", "train": settings})).run
    assert evaluate(run).to_json()["regions"]["box"]["task"] == "classification"


def test_what_does_not_fit_the_task_is_refused_before_training(tmp_path: Path) -> None:
    write_pictures(tmp_path / "a.npz")
    path = tmp_path / "d.yaml"
    with pytest.raises(UsageError, match="multiples of"):
        train(config_of(path, [20, 17], {"data": "a.npz"}), dry_run=True)
    with pytest.raises(UsageError, match="three sides of volumes"):
        config_of(path, [16, 16, 16, 16], {"data": "a.npz"})


def write_mixed(root: Path) -> None:
    """Write a region of masks, one of classes and one of labels, of the same pictures."""
    write_pictures(root / "a.npz", 36)
    with np.load(root / "a.npz") as stored:
        images, masks = stored["images"], stored["masks"]
    top, left = (masks[:, :5].any((1, 2)), masks[:, :, :5].any((1, 2)))
    np.savez(root / "side.npz", images=images[:, ::-1], labels=top.astype(int))
    labels = np.stack([top, left], axis=1).astype(int)
    labels[::6, 1] = -1
    np.savez(root / "where.npz", images=255 - images, labels=labels, label_names=np.array(["top", "left"]))


@pytest.mark.usefixtures("tiny", "without_program")
@pytest.mark.parametrize(("method", "unet"), [("lorkd", "unet"), ("rd", "tiny_unet"), ("drd", "tiny_unet")])
def test_regions_of_masks_classes_and_labels_are_one_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: str, unet: str
) -> None:
    monkeypatch.chdir(tmp_path)
    write_mixed(tmp_path)
    regions = {"box": {"data": "a.npz"}, "side": {"data": "side.npz"}, "where": {"data": "where.npz"}}
    settings = {"epochs": 1, "batch_size": 18, "lr": 0.01, "warmup_epochs": 0}
    config = config_of(tmp_path / "d.yaml", [16, 16], {}, unet=unet, regions=regions, train=settings)
    config = config.model_copy(update={"split": config.split.model_copy(update={"val": 0.3})})
    run = train(config.model_copy(update={"method": method})).run
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert all(np.isfinite(value) for row in rows for term in row["loss"].values() for value in term.values())
    networks = {result.path.name: load_expert(result.path).network for result in extract(run)}
    shapes = {name: tuple(network(torch.zeros(2, 1, 16, 16)).shape) for name, network in networks.items()}
    assert shapes == {"box": (2, 2, 16, 16), "side": (2, 2), "where": (2, 2)}
    tensors = {name: set(network.network.state_dict()) for name, network in networks.items()}
    assert tensors["side"] == tensors["where"]
    decoder = {"unet": ".submodule.2.", "tiny_unet": "ups."}[unet]
    assert any(decoder in key for key in tensors["box"]), "the decoder"
    assert not any(decoder in key for key in tensors["side"]), "which classes do not need"
    document = evaluate(run)
    assert {name: block.task for name, block in document.regions.items()} == {
        "box": "segmentation", "side": "classification", "where": "multilabel",
    }  # fmt: skip
    assert document.means.keys() >= {"dice", "balanced_accuracy", "auroc"}
