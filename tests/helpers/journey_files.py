"""The files with which each page of docs/journeys begins: small drawings of ours, in the names of the page."""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path

import nibabel as nib
import numpy as np
from dicom_files import write_dicom
from given_networks import write_given
from numpy.typing import NDArray
from PIL import Image

from lorkit.decompose.data.phantoms.payments import payments

SIDE = 24


def draw(shown: bool, rng: np.random.Generator, side: int = SIDE) -> NDArray[np.uint8]:
    """Return a gray picture with noise, and a bright square if it is `shown`."""
    picture = rng.normal(90, 12, (side, side))
    if shown:
        top, left = rng.integers(4, side - 12, 2)
        picture[top : top + 8, left : left + 8] += 90
    return np.clip(picture, 0, 255).astype(np.uint8)


def folders(root: Path) -> None:
    """Write two pictures of each of 24 patients into folders of classes, and new ones."""
    rng = np.random.default_rng(0)
    (root / "new").mkdir()
    for label, name in enumerate(("normal", "pneumonia")):
        (root / "scans" / name).mkdir(parents=True)
        for patient in range(12):
            for number in (1, 2):
                path = root / "scans" / name / f"P{20 * label + patient + 1:03}_{number}.png"
                Image.fromarray(draw(bool(label), rng)).save(path)
        Image.fromarray(draw(bool(label), rng)).save(root / "new" / f"{'ab'[label]}.png")


def nifti(root: Path) -> None:
    """Write a task of the Medical Segmentation Decathlon: 12 volumes with two structures."""
    rng = np.random.default_rng(0)
    task = root / "Task04_Hippocampus"
    affine = np.diag([-1.0, 1.0, 1.5, 1.0])
    for case in range(12):
        volume, mask = rng.normal(300, 20, (16, 18, 14)), np.zeros((16, 18, 14), np.uint8)
        x, y = rng.integers(2, 5, 2)
        mask[x : x + 5, y : y + 6, 4:9] = 1
        mask[x + 5 : x + 9, y : y + 6, 4:9] = 2
        volume += 150 * (mask == 1) + 300 * (mask == 2)
        for folder, values in (("imagesTr", volume.astype(np.float32)), ("labelsTr", mask)):
            (task / folder).mkdir(parents=True, exist_ok=True)
            nib.save(nib.Nifti1Image(values, affine), task / folder / f"hippocampus_{case:03}.nii.gz")
    names = {"0": "background", "1": "Anterior", "2": "Posterior"}
    text = {"name": "Hippocampus", "modality": {"0": "MRI"}, "labels": names}
    (task / "dataset.json").write_text(json.dumps(text), encoding="utf-8")
    (root / "new").mkdir()
    (root / "new" / "case.nii.gz").write_bytes((task / "imagesTr" / "hippocampus_000.nii.gz").read_bytes())


def dicom(root: Path) -> None:
    """Write DICOM files of CT values, two per patient, without suffixes, and a new one."""
    rng = np.random.default_rng(0)
    for label, name in enumerate(("normal", "tumour")):
        (root / "scans" / name).mkdir(parents=True)
        for index in range(24):
            pixels = draw(bool(label), rng).astype(np.uint16) * 3 + np.uint16(800)
            tags = {"PatientID": f"{name}{index // 2}", "RescaleSlope": "1", "RescaleIntercept": "-1024"}
            write_dicom(root / "scans" / name / f"IM{index:04}", pixels, Modality="CT", **tags)
    (root / "new").mkdir()
    (root / "new" / "IM0001").write_bytes((root / "scans" / "tumour" / "IM0001").read_bytes())


def multilabel(root: Path) -> None:
    """Write a table with a column per finding, some of them unknown, and its pictures."""
    rng = np.random.default_rng(0)
    (root / "images").mkdir()
    with (root / "labels.csv").open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(["Path", "Patient", "Edema", "Effusion"])
        for index in range(48):
            edema, effusion = bool(index & 1), bool(index & 2)
            picture = draw(edema, rng)
            picture[-5:] = np.where(effusion, 220, picture[-5:])
            Image.fromarray(picture).save(root / "images" / f"x{index:03}.png")
            unknown = index % 16 == 5
            table.writerow([f"images/x{index:03}.png", f"p{index // 4}", int(edema), "" if unknown else int(effusion)])


def transactions(root: Path) -> None:
    """Write payments of the built-in graph as a table, and rows that arrive later."""
    graph, rows = payments(), 900
    names = {name: np.array(keys.names)[keys.keys_N[:rows]] for name, keys in graph.relations.items()}
    with (root / "payments.csv").open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow([*names, "time", "amount", "label"])
        for row in range(rows):
            label = int(graph.labels_N[row])
            keys = [column[row] for column in names.values()]
            told = label if label >= 0 else ""
            table.writerow([*keys, int(graph.times_N[row]), f"{graph.features_NF[row, 0]:.2f}", told])
    later = {"id": "p-1", "user": "user-1", "shop": "shop-3", "device": "device-9", "time": 5200000, "amount": 31.5}
    lines = [later, {"id": "p-1", "label": "1"}]
    (root / "new.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in lines), encoding="utf-8")


def network(root: Path) -> None:
    """Write the folders of classes, the file of a network, and the recipe of the page."""
    folders(root)
    write_given(root / "lungs.onnx", size=64)
    page = Path(__file__).parents[2] / "docs" / "journeys" / "network.md"
    (recipe,) = re.findall(r"^```yaml\n(.*?)^```", page.read_text(encoding="utf-8"), re.M | re.S)
    (root / "recipe.yaml").write_text(recipe, encoding="utf-8")


def ci(root: Path) -> None:
    """Write the folders of classes."""
    folders(root)
