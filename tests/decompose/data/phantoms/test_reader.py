"""The built-in phantom: frozen pixels, stated parts, whole patients."""

from __future__ import annotations

import hashlib
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from lorkit.decompose.config import RegionConfig, SplitConfig
from lorkit.decompose.data.phantoms import reader as phantom
from lorkit.decompose.data.readers.registry import read_region
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
