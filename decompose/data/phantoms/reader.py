"""Built-in phantom regions: drawn patients with drawn diseases, without data or a download.

The source states the parts; every patient has two images. Nothing is cached, since drawing a region takes a fraction of
a second and gives the same pixels on every machine.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray

from lorkit.decompose.config import RegionConfig
from lorkit.decompose.data.phantoms.anatomy import ANATOMIES
from lorkit.decompose.data.phantoms.canvas import SIDE, Canvas, Draws
from lorkit.decompose.data.random_numbers import keys
from lorkit.decompose.data.samples.source import Source
from lorkit.decompose.errors import unknown
from lorkit.decompose.machine import usable_threads

PHANTOM_REGIONS: tuple[str, ...] = tuple(ANATOMIES)
PREFIX = "phantom:"
# Patients of each part. Test is large, so that the gate can decide a drop of 0.02 in accuracy.
PATIENTS = {"train": 330, "val": 78, "test": 600}
PICTURES = 2
_CHUNK = 32  # images drawn at once, so that their fields fit into the cache
_SEEDS = {"chest": 11, "brain": 12, "breast": 13, "knee": 14}


def accepts(entries: list[str]) -> int:
    """Return the number of leading data entries that this reader takes: 1 for `phantom:REGION`."""
    return int(entries[0].startswith(PREFIX))


def read(entries: list[str], config: RegionConfig) -> Source:
    """Draw all samples of a phantom region; raise UsageError for an unknown name."""
    name = entries[0].removeprefix(PREFIX)
    if name not in ANATOMIES:
        raise unknown("phantom region", name, ANATOMIES)
    patients = np.repeat(np.arange(sum(PATIENTS.values())), PICTURES)
    pictures = np.arange(len(patients)) % PICTURES
    parts = np.repeat(list(PATIENTS), [count * PICTURES for count in PATIENTS.values()]).tolist()
    groups = tuple(f"{name}/p{patient:04d}" for patient in patients)
    return Source(
        images=draw(name, patients, pictures),
        labels=labels_of(name, patients),
        classes=ANATOMIES[name].classes,
        ids=tuple(f"{group}/{picture}" for group, picture in zip(groups, pictures, strict=True)),
        groups=groups,
        grouped=True,
        parts=tuple(parts),
        origin=entries[0],
        modality=ANATOMIES[name].modality,
        synthetic=True,
    )


def labels_of(name: str, patients: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the class of each patient: classes alternate, so every part is balanced."""
    return (patients % len(ANATOMIES[name].classes)).astype(np.int64)


def draw(name: str, patients: NDArray[np.int64], pictures: NDArray[np.int64]) -> NDArray[np.uint8]:
    """Draw images of a region.

    Args:
        name: One of `PHANTOM_REGIONS`.
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
    anatomy = ANATOMIES[name]
    patient = keys(_SEEDS[name], patients)
    canvas = Canvas(Draws(patient, keys(patient, pictures + 1)))
    label = labels_of(name, patients)[:, None, None]
    anatomy.draw(canvas, tuple((label == index).astype(np.float32) for index in range(len(anatomy.classes))))
    return canvas.pixels()
