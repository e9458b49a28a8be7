"""`samples.npz` is read as it was written, and damage is named."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lorkit.decompose.artifacts import write_manifest
from lorkit.decompose.errors import ArtifactError
from lorkit.export.building.samples import SAMPLES, Samples, read_samples, write_samples
from lorkit.export.runtime.exported import read_exported


@pytest.fixture
def place(tmp_path: Path, workshop: Any) -> Path:
    return Path(workshop.write_export(tmp_path / "export", owner="expert", region="chest"))


def test_samples_are_read_as_they_were_written(place: Path) -> None:
    images = np.linspace(0, 1, 32, dtype=np.float32).reshape(2, 1, 4, 4)
    masks = (images[:, 0] > 0.5).astype(np.uint8)
    logits = np.stack([images[:, 0], 1 - images[:, 0]], axis=1)
    write_samples(place, Samples(images=images, kind="phantom", masks=masks, logits=logits))
    write_manifest(place, "export", synthetic=True)
    found = read_samples(read_exported(place))
    for name, wanted in (("images", images), ("masks", masks), ("logits", logits)):
        np.testing.assert_array_equal(getattr(found, name), wanted)
    assert found.labels is None


@pytest.mark.parametrize("damage", ["text", "keys", "none"])
def test_damaged_or_missing_samples_are_refused(place: Path, damage: str) -> None:
    (place / SAMPLES).unlink(missing_ok=True)
    if damage == "text":
        (place / SAMPLES).write_text("nonsense", encoding="utf-8")
    if damage == "keys":
        np.savez(place / SAMPLES, other=np.zeros(1))
    write_manifest(place, "export", synthetic=True)
    reason = "lacks" if damage == "none" else "cannot be read"
    with pytest.raises(ArtifactError, match=reason):
        read_samples(read_exported(place))
