import base64
import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from lorkit.decompose.artifacts import read_json, write_json, write_manifest
from lorkit.decompose.documents.report import Picture
from lorkit.export.reporting.pictures import pictures_of
from lorkit.export.runtime.exported import read_exported

LABELS = [0, 0, 0, 0, 0, 1, 0, 1]


@pytest.fixture
def shown(tmp_path: Path, workshop: Any) -> Any:
    """Return what is drawn of an export whose samples are of a kind, after a change of its arrays."""

    def draw(kind: str, *, volume: bool = False, labelled: bool = True) -> list[Picture]:
        place = workshop.write_export(tmp_path / kind, owner="expert", region="chest")
        generator = np.random.default_rng(0)
        shape = (8, 1, 12, 10, 6) if volume else (8, 1, 16, 16)
        arrays = {"image": generator.random(shape, dtype=np.float32), "logits": np.tile([2.0, 0.0], (8, 1))}
        if labelled:
            arrays["labels"] = np.array(LABELS)
        np.savez(place / "samples.npz", **arrays)
        kept = {"inputs": kind, "n": 8}
        write_json(place / "export.json", {**read_json(place / "export.json"), "kept_samples": kept})
        write_manifest(place, "export", synthetic=True)
        return pictures_of([read_exported(place)])["chest"]

    return draw


def test_a_classifier_shows_every_class_with_its_answers(shown: Any) -> None:
    pictures = shown("phantom")
    assert len(pictures) == 6
    assert [one.truth for one in pictures].count("bright") == 2, "both of the rare class, four of the other"
    one = pictures[0]
    assert one.answer == "dark"
    assert [row.class_name for row in one.top] == ["dark", "bright"]
    assert one.top[0].probability == pytest.approx(1 / (1 + np.exp(-2)))
    drawn = Image.open(io.BytesIO(base64.b64decode(one.png)))
    assert drawn.size == (one.width, one.height) == (144, 144)


def test_what_stands_in_for_patients_is_no_picture(shown: Any) -> None:
    assert shown("seeded") == []


def test_a_volume_shows_its_middle_and_samples_without_labels_no_truth(shown: Any) -> None:
    pictures = shown("real", volume=True, labelled=False)
    assert len(pictures) == 6
    assert {one.slice for one in pictures} == {3}
    assert {one.truth for one in pictures} == {None}
    assert not any(one.annotated for one in pictures)
