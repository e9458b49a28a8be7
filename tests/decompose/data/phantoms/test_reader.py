"""The built-in phantom: frozen pixels, stated parts, whole patients."""

from __future__ import annotations

import hashlib
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from lorkit.decompose.config import RegionConfig, SplitConfig
from lorkit.decompose.data.phantoms import reader as phantom
from lorkit.decompose.data.phantoms.scanners import SCANNERS
from lorkit.decompose.data.readers.registry import read_region
from lorkit.decompose.data.samples.samples import RegionSamples
from lorkit.decompose.data.splits import split_regions

# Six pictures of each region. The phantom is drawn with IEEE-exact operations and integer hashes, so these digests
# hold on every machine and with every numpy version; changing them makes every stored phantom run unreadable.
GOLDEN = {
    "chest": "926bc608adedb9ffe2b417b9e53f5e23864880b41824cd01e979994aa99f5a2f",
    "brain": "84b87c450528e8db10832f35cea4483af21a7a840f585658fa08075d5dd26067",
    "breast": "b1e20728a504adf44d4f229d300b66dc9b214aba73feca9df89b108302f52767",
    "knee": "b31041581641b3314d2eeede84d051459bd7bb2a1528b4f43e053b9d32694cea",
}


@pytest.mark.parametrize("region", phantom.PHANTOM_REGIONS)
def test_pixels_are_frozen(region: str) -> None:
    images = phantom.draw(region, np.arange(6), np.arange(6) % 2)
    assert hashlib.sha256(images.tobytes()).hexdigest() == GOLDEN[region]


def test_a_picture_does_not_depend_on_what_else_is_drawn() -> None:
    whole = phantom.draw("chest", np.arange(70), np.zeros(70, dtype=np.int64))
    np.testing.assert_array_equal(phantom.draw("chest", np.array([69, 3]), np.array([0, 0])), whole[[69, 3]])


@pytest.mark.parametrize("region", phantom.PHANTOM_REGIONS)
def test_region_is_balanced_split_by_patient_and_marked_synthetic(region: str) -> None:
    entry = f"phantom:{region}"
    samples = read_region("r", RegionConfig(data=(entry,)), base=Path("."))
    assert samples.region.synthetic
    assert samples.region.classes[0] == "normal"
    assert samples.origin == entry
    assert Counter(samples.parts) == {"train": 660, "val": 156, "test": 1200}
    assert len(set(samples.digests)) == len(samples)
    assert set(Counter(samples.groups).values()) == {2}
    parts = split_regions({"r": samples}, SplitConfig(), seed=0).parts("r")
    for part, indices in parts.items():
        assert {samples.parts[index] for index in indices} == {part}
        counts = np.bincount(samples.labels[indices])
        assert len(set(counts.tolist())) == 1


def test_findings_occur_together_and_some_are_uncertain() -> None:
    samples = read_region("r", RegionConfig(data=("phantom:chest-findings",)), base=Path("."))
    assert (samples.region.task, samples.region.classes) == ("multilabel", ("effusion", "nodule"))
    assert samples.region.synthetic
    shown = Counter(map(tuple, samples.labels.tolist()))
    assert {(0, 0), (1, 0), (0, 1), (1, 1), (-1, 0), (-1, 1)} <= set(shown)
    assert 0.05 < sum(count for labels, count in shown.items() if labels[0] < 0) / len(samples) < 0.15
    patients = np.array([0, 1, 4])  # neither, an effusion, both: what differs is where the finding is
    plain, effusion, both = phantom.draw(phantom.FINDINGS, patients, np.zeros(3, dtype=np.int64))
    assert not np.array_equal(plain, effusion)
    assert hashlib.sha256(both.tobytes()).hexdigest() != hashlib.sha256(effusion.tobytes()).hexdigest()


def region_of(name: str) -> RegionSamples:
    return read_region("r", RegionConfig(data=(f"phantom:{name}",)), base=Path("."))


@pytest.mark.parametrize("region", ["chest", "knee"])
def test_masks_are_of_the_images_of_the_region(region: str) -> None:
    classes, masked = region_of(region), region_of(f"{region}-masks")
    assert masked.region.task == "segmentation"
    assert masked.region.classes == phantom.ANATOMIES[region].structures
    assert (masked.digests, masked.groups, masked.parts) == (classes.digests, classes.groups, classes.parts)
    assert masked.masks is not None
    image, mask = (np.stack([one[row] for row in range(0, 60)]) for one in (masked.images, masked.masks))
    assert set(np.unique(mask)) == set(range(len(masked.region.classes) + 1))
    inside = image[mask == len(masked.region.classes)].mean()  # heart and bones are bright
    assert inside > image[mask != len(masked.region.classes)].mean() + 20


def test_the_grade_of_the_joint_is_derived_from_its_mask() -> None:
    grade, masked = region_of("knee-joint"), region_of("knee-masks")
    assert grade.region.classes == ("narrow", "wide")
    assert grade.digests == masked.digests
    assert masked.masks is not None
    bones = np.stack([masked.masks[row] for row in range(len(masked))]) > 0
    middle = bones[:, 16:48, 28:36]  # between the ends of both bones
    empty = (~middle).sum((1, 2))
    narrow, wide = empty[grade.labels == 0], empty[grade.labels == 1]
    assert np.median(narrow) < 0.8 * np.median(wide)
    assert 0.25 < len(narrow) / len(empty) < 0.45
    arthrosis = region_of("knee").labels == 1
    assert grade.labels[arthrosis].mean() < 0.1 < 0.9 < grade.labels[~arthrosis].mean()


@pytest.mark.parametrize("region", phantom.PHANTOM_REGIONS)
def test_scanners_see_other_patients_of_the_same_classes(region: str) -> None:
    names = [f"{region}@{scanner}" for scanner in SCANNERS]
    seen = np.stack([phantom.draw(name, np.arange(60), np.zeros(60, dtype=np.int64)) for name in (region, *names)])
    level, spread = seen.mean((1, 2, 3)), (seen[:, :, 1:] - seen[:, :, :-1].astype(float)).std((1, 2, 3))
    plain, bright, coarse = level[1:4]
    assert coarse < plain - 3 < plain + 3 < bright
    assert abs(plain - level[0]) < 3, "the plain scanner changes nothing"
    assert not (seen[0] == seen[1]).all((1, 2)).any(), "other patients"
    assert spread[2] != spread[1]
    assert (phantom.labels_of(names[1], np.arange(6)) == [0, 1, 2, 0, 1, 2]).all()
    assert len(set(phantom.draw(f"{region}@coarse", np.arange(1), np.zeros(1, int))[0, ::2, ::2].ravel())) > 10


def test_pixels_under_scanners_and_masks_are_frozen() -> None:
    seen = [phantom.draw(f"brain@{scanner}", np.arange(6), np.arange(6) % 2) for scanner in SCANNERS]
    assert (
        hashlib.sha256(np.stack(seen).tobytes()).hexdigest()
        == "b75879e02a828050926a75de643e4cffd9434d6d2ebbfd9cf097d09c3a8fcd8b"
    )
    masks = np.stack([region_of("chest-masks").masks[row] for row in range(6)])  # type: ignore[index]
    assert (
        hashlib.sha256(masks.tobytes()).hexdigest()
        == "48359b7c4e9b8f9e579e4d82b30bd2b2d036248e308edcdc58ac858088d279cf"
    )
