"""`samples.npz` is read as it was written, and damage is named."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mixtures import mixture_of

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
    write_samples(place, Samples(images=images, kind="phantom", masks=masks, outputs={"logits": logits}))
    write_manifest(place, "export", synthetic=True)
    found = read_samples(read_exported(place))
    for kept, wanted in ((found.images, images), (found.masks, masks), (found.outputs["logits"], logits)):
        np.testing.assert_array_equal(kept, wanted)
    assert found.labels is None
    assert found.region_N is None


def test_several_inputs_and_outputs_are_kept_under_their_names(place: Path) -> None:
    exported, mixture = read_exported(place), mixture_of("region-id")
    exported.info.with_changes(mixture=mixture, region="region-id").write(place / "export.json")
    outputs = {name: np.full((3, 2), index, np.float32) for index, name in enumerate(mixture.output_names)}
    images, region_N = np.ones((3, 1, 4, 4), np.float32), np.array([1, 0, 1])
    write_samples(place, Samples(images=images, kind="phantom", region_N=region_N, outputs=outputs))
    write_manifest(place, "export", synthetic=True)
    found = read_samples(read_exported(place))
    np.testing.assert_array_equal(found.region_N, region_N)
    assert list(found.outputs) == list(mixture.output_names)
    for name, wanted in outputs.items():
        np.testing.assert_array_equal(found.outputs[name], wanted)
    incomplete = {name: values for name, values in outputs.items() if name != mixture.output_names[-1]}
    write_samples(place, Samples(images=images, kind="phantom", region_N=region_N, outputs=incomplete))
    write_manifest(place, "export", synthetic=True)
    with pytest.raises(ArtifactError, match="cannot be read"):
        read_samples(read_exported(place))


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
