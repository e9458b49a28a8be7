"""Structures that overlap from data to extracted experts, by several methods, and a structure of two regions."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from lorkit.decompose.artifacts.masks import join_structures
from lorkit.decompose.config import load_config
from lorkit.decompose.evaluation.evaluation import evaluate
from lorkit.decompose.extraction.extraction import extract
from lorkit.decompose.runs import open_run
from lorkit.decompose.runs.expert import load_expert
from lorkit.decompose.runs.locked_data import RunSplits
from lorkit.decompose.training.training import train

NUMBERS = {"organ": [1, 2], "vessel": [2, 3]}


def write(path: Path, count: int = 20, size: int = 16) -> np.ndarray:
    """Write an organ and a vessel that crosses its border: 1 organ, 2 both, 3 vessel outside."""
    rng = np.random.default_rng(0)
    images, masks = rng.integers(0, 40, (count, size, size), dtype=np.uint8), np.zeros((count, size, size), np.uint8)
    for image, mask in zip(images, masks, strict=True):
        top, left = rng.integers(0, 6, 2)
        mask[top : top + 9, left : left + 9] = 1
        column = left + 4
        mask[:, column : column + 3] = np.where(mask[:, column : column + 3] == 1, 2, 3)
        image[:] += np.array([0, 90, 180, 120], np.uint8)[mask]
    np.savez(path, images=images, masks=masks)
    return masks


# A U-Net where regions share its decoder by rules of the method; elsewhere a network of a few channels gives the maps.
# The students of rd are proven to share no tensor, and after two steps two vectors of eight numbers can be equal.
STUDENTS = {"lorkd": "tiny_unet", "mtl": "tiny_unet", "mola-router": "tiny_unet", "rd": "tiny_unet"}


@pytest.mark.parametrize("method", ["lorkd", "rd", "drd", "kd", "stl", "mtl", "mola-grad", "mola-router", "finetune"])
@pytest.mark.usefixtures("tiny", "without_program")
def test_a_structure_of_two_regions_has_a_head_in_each(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    """One region lets structures overlap, the other has the vessel alone; both read the same images."""
    monkeypatch.chdir(tmp_path)
    masks = write(tmp_path / "a.npz")
    document = {
        "image": {"size": [16, 16], "channels": 1},
        "split": {"val": 0.2, "test": 0.2},
        "regions": {
            "abdomen": {"data": "a.npz", "overlap": True, "structures": NUMBERS},
            "vessels": {"data": "a.npz", "overlap": True, "structures": {"vessel": NUMBERS["vessel"]}},
        },
        "foundation": {"backbone": STUDENTS.get(method, "tiny_resnet"), "epochs": 1},
        "student": {"backbone": STUDENTS.get(method, "tiny_resnet")},
        "train": {"epochs": 1, "batch_size": 12, "lr": 0.01, "warmup_epochs": 0},
        "method": method,
    }
    (tmp_path / "d.yaml").write_text(yaml.safe_dump(document), encoding="utf-8")
    run = train(load_config(tmp_path / "d.yaml")).run
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert all(np.isfinite(value) for row in rows for term in row["loss"].values() for value in term.values())
    networks = {result.path.name: load_expert(result.path).network for result in extract(run)}
    shapes = {name: tuple(network(torch.zeros(2, 1, 16, 16)).shape) for name, network in networks.items()}
    assert shapes == {"abdomen": (2, 2, 16, 16), "vessels": (2, 1, 16, 16)}
    found = evaluate(run)
    assert {block.task for block in found.regions.values()} == {"structures"}
    assert [row.structure for row in found.regions["abdomen"].per_structure] == ["organ", "vessel"]
    assert found.regions["abdomen"].volume_unit == "pixels"
    part = RunSplits(open_run(run)).part("abdomen", "test")
    known = {join_structures([np.isin(mask, own) for own in NUMBERS.values()]).tobytes() for mask in masks}
    assert {mask.tobytes() for mask in part.masks} <= known, "the numbers of the configuration, also after training"
