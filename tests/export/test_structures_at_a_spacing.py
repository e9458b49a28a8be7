"""Structures that overlap, in volumes at a spacing: from NIfTI files to masks of `predict` and the example script."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import yaml
from small_runs import register_tiny

from lorkit.decompose.config import load_config
from lorkit.decompose.evaluation.evaluation import evaluate
from lorkit.decompose.extraction.extraction import extract
from lorkit.decompose.training.training import train
from lorkit.export import export, predict

AFFINE = np.diag([-2.0, 2.0, 3.0, 1.0])


def write(root: Path, cases: int = 8) -> None:
    """Write an organ (1) with a vessel (2) inside it, in files whose first axis runs to the left."""
    rng = np.random.default_rng(0)
    for folder in ("imagesTr", "labelsTr"):
        (root / folder).mkdir(parents=True)
    for case in range(cases):
        sides = rng.integers(18, 23, 3)
        mask = np.zeros(sides, dtype=np.uint8)
        mask[4:-4, 5:-5, 4:-3] = 1
        mask[8:11, 7:12, 5:-4] = 2
        image = (np.array([-80, 90, 220])[mask] + rng.normal(0, 10, sides)).astype(np.int16)
        nib.save(nib.Nifti1Image(image, AFFINE), root / "imagesTr" / f"case{case}.nii.gz")
        nib.save(nib.Nifti1Image(mask, AFFINE), root / "labelsTr" / f"case{case}.nii.gz")


def layer(path: Path) -> np.ndarray:
    """Where the structure of a file is."""
    return np.asarray(nib.load(path).dataobj) != 0


def test_they_are_the_same_from_training_to_the_example_script(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    register_tiny(monkeypatch.setitem)
    write(tmp_path / "msd")
    region = {"data": "msd/", "overlap": True, "structures": {"organ": [1, 2], "vessel": 2}, "window": [-160, 240]}
    document = {
        "image": {"size": [16, 16, 16], "channels": 1},
        "split": {"val": 0.25, "test": 0.25},
        "regions": {"abdomen": region | {"spacing": 3}},
        "foundation": {"backbone": "tiny_unet"},
        "student": {"backbone": "tiny_unet"},
        "method": "stl",
        "train": {"epochs": 6, "batch_size": 4, "optimizer": "adamw", "lr": 0.005, "warmup_epochs": 0},
    }
    (tmp_path / "decompose.yaml").write_text(yaml.safe_dump(document), encoding="utf-8")
    run = train(load_config(tmp_path / "decompose.yaml")).run
    found = evaluate(run).regions["abdomen"]
    assert (found.task, found.volume_unit, found.unit) == ("structures", "ml", "mm")
    assert [row.structure for row in found.per_structure] == ["organ", "vessel"]
    (expert,) = extract(run)
    exported = export(expert.path, target="onnx", profile="cpu-generic").exports[0].path
    image = tmp_path / "msd" / "imagesTr" / "case0.nii.gz"
    options = {"allow_out_of_region": True, "threads": 1}
    documents = {
        name: predict(path, [image], out=tmp_path / name, **options)
        for name, path in {"torch": expert.path, "onnx": exported}.items()
    }
    command = [sys.executable, str(exported / "example.py"), str(image), str(tmp_path / "example.nii.gz")]
    said = json.loads(subprocess.run(command, check=True, capture_output=True, text=True, timeout=120).stdout)
    sizes = {name: size["voxels"] for name, size in documents["onnx"].to_json()["predictions"][0]["structures"].items()}
    assert said["voxels"] == sizes
    assert min(sizes.values()) > 0, "a network that finds nothing would prove nothing"
    both = np.ones(nib.load(image).shape, dtype=bool)
    for number, name in enumerate(("organ", "vessel"), start=1):
        where = layer(tmp_path / "onnx" / f"case0_{name}.nii.gz")
        np.testing.assert_array_equal(where, layer(tmp_path / f"example.{number}.nii.gz"))
        assert (where != layer(tmp_path / "torch" / f"case0_{name}.nii.gz")).mean() < 1e-3  # near ties
        both &= where
    assert both.any(), "the vessel is inside the organ"
