"""Built-in phantom regions: drawn patients with drawn diseases, without data or a download.

`chest-findings` is the chest film as a multilabel region: effusion and nodule occur together too, and for some patients
nobody says whether there is an effusion. The source states the parts; every patient has two images. Nothing is cached,
since drawing a region takes a fraction of a second and gives the same pixels on every machine.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lorkit.decompose.config import RegionConfig
from lorkit.decompose.data.phantoms.anatomy import ANATOMIES
from lorkit.decompose.data.phantoms.canvas import SIDE, Canvas, Draws
from lorkit.decompose.data.random_numbers import keys
from lorkit.decompose.data.samples.label_table import UNCERTAIN
from lorkit.decompose.data.samples.open_files import OpenFiles
from lorkit.decompose.data.samples.source import Source
from lorkit.decompose.errors import unknown
from lorkit.decompose.machine import usable_threads

PHANTOM_REGIONS: tuple[str, ...] = tuple(ANATOMIES)
FINDINGS = "chest-findings"
PREFIX = "phantom:"
# Patients of each part. Test is large, so that the gate can decide a drop of 0.02 in accuracy.
PATIENTS = {"train": 330, "val": 78, "test": 600}
PICTURES = 2
_CHUNK = 32  # images drawn at once, so that their fields fit into the cache
_SEEDS = {"chest": 11, "brain": 12, "breast": 13, "knee": 14, FINDINGS: 15}


def accepts(entries: list[str]) -> int:
    """Return the number of leading data entries that this reader takes: 1 for `phantom:REGION`."""
    return int(entries[0].startswith(PREFIX))


def read(entries: list[str], config: RegionConfig, files: OpenFiles | None = None) -> Source:
    """Draw all samples of a phantom region; raise UsageError for an unknown name."""
    del config
    name = entries[0].removeprefix(PREFIX)
    if name not in (*ANATOMIES, FINDINGS):
        raise unknown("phantom region", name, (*ANATOMIES, FINDINGS))
    patients = np.repeat(np.arange(sum(PATIENTS.values())), PICTURES)
    pictures = np.arange(len(patients)) % PICTURES
    parts = np.repeat(list(PATIENTS), [count * PICTURES for count in PATIENTS.values()]).tolist()
    groups = tuple(f"{name}/p{patient:04d}" for patient in patients)
    anatomy = ANATOMIES["chest" if name == FINDINGS else name]
    shared = files or OpenFiles()
    return Source(
        images=shared.arrays(Path(entries[0]), lambda _: {"images": draw(name, patients, pictures)})["images"],
        labels=stated_findings(patients) if name == FINDINGS else labels_of(name, patients),
        classes=anatomy.classes[1:] if name == FINDINGS else anatomy.classes,
        ids=tuple(f"{group}/{picture}" for group, picture in zip(groups, pictures, strict=True)),
        groups=groups,
        grouped=True,
        parts=tuple(parts),
        origin=entries[0],
        modality=anatomy.modality,
        synthetic=True,
    )


def labels_of(name: str, patients: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the class of each patient: classes alternate, so every part is balanced."""
    return (patients % len(ANATOMIES[name].classes)).astype(np.int64)


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
        name: One of `PHANTOM_REGIONS`, or `FINDINGS`.
        patients: (N,) patient numbers, which decide class, anatomy and disease.
        pictures: (N,) image numbers, which decide pose, exposure and noise.

    Returns:
        (N, 64, 64) uint8.
    """
    images = np.empty((len(patients), SIDE, SIDE), dtype=np.uint8)

    def chunk(start: int) -> None:
        rows = slice(start, start + _CHUNK)
        images[rows] = _draw_chunk(name, patients[rows], pictures[rows])

    with ThreadPoolExecutor(usable_threads()) as pool:  # NumPy releases the GIL in its loops
        list(pool.map(chunk, range(0, len(patients), _CHUNK)))
    return images


def _draw_chunk(name: str, patients: NDArray[np.int64], pictures: NDArray[np.int64]) -> NDArray[np.uint8]:
    anatomy = ANATOMIES["chest" if name == FINDINGS else name]
    patient = keys(_SEEDS[name], patients)
    canvas = Canvas(Draws(patient, keys(patient, pictures + 1)))
    if name == FINDINGS:
        found = findings_of(patients)
        shown = np.concatenate([1 - found.max(1, keepdims=True), found], axis=1)
    else:
        shown = labels_of(name, patients)[:, None] == np.arange(len(anatomy.classes))
    anatomy.draw(canvas, tuple(shown.T.astype(np.float32)[:, :, None, None]))
    return canvas.pixels()
