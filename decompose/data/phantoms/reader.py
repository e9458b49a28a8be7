"""Built-in phantom regions: drawn patients with drawn diseases, without data or a download.

- `chest-findings` is the chest film as a multilabel region: effusion and nodule occur together too, and for some
  patients nobody says whether there is an effusion.
- `chest-masks` and `knee-masks` are structures on the images of `chest` and `knee`. `knee-joint` is a grade of the
  images of `knee` that is derived from their masks: the height of the gap between the bones.
- `NAME@SCANNER` is a region of classes under a simulated scanner, with patients of its own.

The source states the parts; every patient has two images. Nothing is cached, since drawing a region takes a fraction of
a second and gives the same pixels on every machine.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lorkit.decompose.config import RegionConfig
from lorkit.decompose.data.phantoms.anatomy import ANATOMIES, Anatomy
from lorkit.decompose.data.phantoms.canvas import SIDE, Canvas, Draws
from lorkit.decompose.data.phantoms.scanners import SCANNERS
from lorkit.decompose.data.random_numbers import keys
from lorkit.decompose.data.samples.label_table import UNCERTAIN
from lorkit.decompose.data.samples.open_files import OpenFiles
from lorkit.decompose.data.samples.source import Source
from lorkit.decompose.errors import unknown
from lorkit.decompose.machine import usable_threads

PHANTOM_REGIONS: tuple[str, ...] = tuple(ANATOMIES)
FINDINGS, GRADE = "chest-findings", "knee-joint"
PREFIX, SCANNER = "phantom:", "@"
# Patients of each part. Test is large, so that the gate can decide a drop of 0.02 in accuracy.
PATIENTS = {"train": 330, "val": 78, "test": 600}
PICTURES = 2
_CHUNK = 32  # images drawn at once, so that their fields fit into the cache
_SEEDS = {"chest": 11, "brain": 12, "breast": 13, "knee": 14, FINDINGS: 15}
MASKS = {f"{name}-masks": name for name, anatomy in ANATOMIES.items() if anatomy.structures}
_IMAGES = dict.fromkeys((*ANATOMIES, FINDINGS)) | {**MASKS, GRADE: "knee"}
NAMES = (*ANATOMIES, FINDINGS, *MASKS, GRADE, *(f"{name}{SCANNER}{kind}" for name in ANATOMIES for kind in SCANNERS))
GRADES = ("narrow", "wide")
_NARROW = 5.4  # pixels; about a third of the images have less


def accepts(entries: list[str]) -> int:
    """Return the number of leading data entries that this reader takes: 1 for `phantom:REGION`."""
    return int(entries[0].startswith(PREFIX))


def read(entries: list[str], config: RegionConfig, files: OpenFiles | None = None) -> Source:
    """Draw all samples of a phantom region; raise UsageError for an unknown name."""
    del config
    name = entries[0].removeprefix(PREFIX)
    if name not in NAMES:
        raise unknown("phantom region", name, NAMES)
    patients = np.repeat(np.arange(sum(PATIENTS.values())), PICTURES)
    pictures = np.arange(len(patients)) % PICTURES
    parts = np.repeat(list(PATIENTS), [count * PICTURES for count in PATIENTS.values()]).tolist()
    images = _IMAGES.get(name) or name  # those of another region, for masks and grades
    groups = tuple(f"{images}/p{patient:04d}" for patient in patients)
    shared = files or OpenFiles()
    drawn = shared.arrays(Path(f"{PREFIX}{images}"), lambda _: _draw(images, patients, pictures), keep=True)
    anatomy = _anatomy(name)
    labels, classes = _targets(name, patients, drawn["masks"])
    return Source(
        images=drawn["images"],
        labels=labels,
        classes=classes,
        masks=drawn["masks"] if name in MASKS else None,
        ids=tuple(f"{group}/{picture}" for group, picture in zip(groups, pictures, strict=True)),
        groups=groups,
        grouped=True,
        parts=tuple(parts),
        origin=entries[0],
        modality=anatomy.modality,
        synthetic=True,
    )


def _anatomy(name: str) -> Anatomy:
    return ANATOMIES["chest" if name == FINDINGS else _IMAGES.get(name) or name.partition(SCANNER)[0]]


def _targets(
    name: str, patients: NDArray[np.int64], masks: NDArray[np.uint8]
) -> tuple[NDArray[np.int64], tuple[str, ...]]:
    """Return the labels of all samples, and the names of what they or their masks index."""
    anatomy = _anatomy(name)
    if name == FINDINGS:
        return stated_findings(patients), anatomy.classes[1:]
    if name == GRADE:
        return graded(masks), GRADES
    if name in MASKS:
        return np.zeros(len(patients), dtype=np.int64), anatomy.structures
    return labels_of(name, patients), anatomy.classes


def graded(masks: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Return the grade of each knee mask (N, H, W): whether the mean gap between its bones is wide."""
    middle = slice(SIDE * 5 // 16, SIDE * 11 // 16)
    bones = masks[:, :, middle] > 0
    row = np.arange(SIDE)[None, :, None]
    first, last = np.where(bones, row, SIDE).min(1), np.where(bones, row, -1).max(1)
    gap: NDArray[np.float64] = (last - first + 1 - bones.sum(1)).mean(1)
    return (gap >= _NARROW).astype(np.int64)


def labels_of(name: str, patients: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the class of each patient: classes alternate, so every part is balanced."""
    return (patients % len(_anatomy(name).classes)).astype(np.int64)


def findings_of(patients: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return (N, 2) whether a patient has an effusion, one in three, and a nodule, every other independent of it."""
    return np.stack([patients % 3 == 1, patients // 3 % 2 == 1], axis=1).astype(np.int64)


def stated_findings(patients: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the findings of each patient as labels: for one in ten the effusion is uncertain."""
    labels = findings_of(patients)
    labels[patients % 10 == 9, 0] = UNCERTAIN
    return labels


def draw(name: str, patients: NDArray[np.int64], pictures: NDArray[np.int64]) -> NDArray[np.uint8]:
    """Draw images of a region.

    Args:
        name: One of `PHANTOM_REGIONS`, also with a scanner, or `FINDINGS`.
        patients: (N,) patient numbers, which decide class, anatomy and disease.
        pictures: (N,) image numbers, which decide pose, exposure and noise.

    Returns:
        (N, 64, 64) uint8.
    """
    return _draw(name, patients, pictures)["images"]


def _draw(name: str, patients: NDArray[np.int64], pictures: NDArray[np.int64]) -> dict[str, NDArray[np.uint8]]:
    """Return images and their masks, (N, 64, 64) each."""
    images, masks = (np.empty((len(patients), SIDE, SIDE), dtype=np.uint8) for _ in range(2))

    def chunk(start: int) -> None:
        rows = slice(start, start + _CHUNK)
        canvas = _draw_chunk(name, patients[rows], pictures[rows])
        images[rows], masks[rows] = canvas.pixels(), canvas.masks()

    with ThreadPoolExecutor(usable_threads()) as pool:  # NumPy releases the GIL in its loops
        list(pool.map(chunk, range(0, len(patients), _CHUNK)))
    return {"images": images, "masks": masks}


def _draw_chunk(name: str, patients: NDArray[np.int64], pictures: NDArray[np.int64]) -> Canvas:
    region, _, scanner = name.partition(SCANNER)
    # patients of a scanner are not those of the region or of another scanner
    patient = (
        keys(_SEEDS[region], patients, list(SCANNERS).index(scanner)) if scanner else keys(_SEEDS[region], patients)
    )
    canvas = Canvas(Draws(patient, keys(patient, pictures + 1)))
    anatomy = _anatomy(region)
    if name == FINDINGS:
        found = findings_of(patients)
        shown = np.concatenate([1 - found.max(1, keepdims=True), found], axis=1)
    else:
        shown = labels_of(region, patients)[:, None] == np.arange(len(anatomy.classes))
    anatomy.draw(canvas, tuple(shown.T.astype(np.float32)[:, :, None, None]))
    if scanner:
        SCANNERS[scanner](canvas)
    return canvas
