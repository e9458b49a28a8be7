"""Predictions where the region is unknown, and the picture of them, from outputs by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lorkit.decompose.documents.heads import Head, HeadPolicy, Mixture, head_output
from lorkit.decompose.documents.network import Decision
from lorkit.decompose.documents.predict import LabelledImage, MultilabelImage, RoutedImage, SegmentedImage
from lorkit.export.prediction import routed
from lorkit.export.prediction.preparation import PreparedImage, RegionCheckResult
from lorkit.export.prediction.sheet import answer_of, caption, prediction_sheet
from lorkit.export.prediction.writers.base import MaskSource
from lorkit.export.prediction.writers.png import PngWriter
from lorkit.export.prediction.writers.spool import Spool
from lorkit.export.prediction.writers.target import MaskTarget

HEADS = [
    Head(region="chest", task="classification", classes=["normal", "ill"], output=head_output("chest")),
    Head(
        region="lung",
        task="multilabel",
        classes=["nodule", "effusion"],
        decision=Decision(policy="youden", thresholds={"nodule": 0.5, "effusion": None}),
        output=head_output("lung"),
    ),
    Head(region="eye", task="segmentation", classes=["vessel"], output=head_output("eye")),
]


def outputs(confidence: float = 0.9) -> dict[str, np.ndarray]:
    """Return outputs for three images: one of each region."""
    masks = np.zeros((3, 2, 4, 4), np.float32)
    masks[:, 1, :2], masks[:, 0, 2:] = 9.0, 9.0
    return {
        "logits_chest": np.array([[0.0, 2.0]] * 3, np.float32),
        "logits_lung": np.array([[1.0, -1.0]] * 3, np.float32),
        "logits_eye": masks,
        "region_probabilities": np.array([[0.8, 0.1, 0.1], [0.2, 0.7, 0.1], [0, 0, 1]], np.float32),
        "confidence": np.array([confidence, 0.9, 0.9], np.float32),
        "gates": np.ones((3, 1, 3), np.float32),
    }


def images(tmp_path: Path) -> list[PreparedImage]:
    values = np.random.default_rng(0).random((1, 4, 4), dtype=np.float32)
    return [PreparedImage(tmp_path / f"{name}.png", values, (8, 8), RegionCheckResult(), None, ()) for name in "abc"]


def predicted(tmp_path: Path, policy: HeadPolicy = "routed", confidence: float = 0.9) -> list[RoutedImage]:
    mixture = Mixture(form="router", heads=HEADS, policy=policy, abstain_below=0.5)
    source = MaskSource("eye", "expert fp32", {"eye": 64 * "0"}, "1")
    with Spool() as spool:
        targets = [MaskTarget(spool, f"{name}-mask", PngWriter(), source) for name in "abc"]
        rows = routed.rows(mixture, images(tmp_path), outputs(confidence), targets)[0]
        for name in spool:
            (tmp_path / name).write_bytes(spool.read(name))
    return rows


def test_each_image_has_the_answer_of_the_head_of_its_region(tmp_path: Path) -> None:
    chest, lung, eye = predicted(tmp_path)
    assert (chest.region, lung.region, eye.region) == ("chest", "lung", "eye")
    assert isinstance(chest.prediction, LabelledImage)
    assert chest.prediction.label == "ill"
    assert chest.prediction.probability == pytest.approx(1 / (1 + np.exp(-2)), abs=1e-6)
    assert isinstance(lung.prediction, MultilabelImage)
    assert lung.prediction.labels is not None
    assert lung.prediction.labels["nodule"].answer == "positive"
    assert lung.prediction.labels["effusion"].answer == "uncertain"
    assert isinstance(eye.prediction, SegmentedImage)
    assert eye.prediction.mask == "c-mask.png"
    assert eye.prediction.structures is not None
    assert eye.prediction.structures["vessel"].pixels == 32
    assert [path.name for path in tmp_path.iterdir()] == ["c-mask.png"]  # no mask of the other images
    assert chest.region_probabilities == pytest.approx({"chest": 0.8, "lung": 0.1, "eye": 0.1})


def test_an_image_below_the_confidence_gets_no_answer_unless_asked_for(tmp_path: Path) -> None:
    chest, lung, _ = predicted(tmp_path, confidence=0.3)
    assert chest.refused
    assert chest.region is None
    assert chest.confidence == pytest.approx(0.3)
    assert not lung.refused
    mixture = Mixture(form="router", heads=HEADS, abstain_below=0.5)
    (forced, *_), masks = routed.rows(mixture, images(tmp_path), outputs(0.3), [None] * 3, allow_out_of_region=True)
    assert masks[:2] == [None, None]
    assert masks[2] is not None
    assert (masks[2].shape, int(masks[2].sum())) == ((8, 8), 32)
    assert forced.region == "chest"


def test_all_heads_are_listed_where_the_caller_chooses(tmp_path: Path) -> None:
    (first, *_) = predicted(tmp_path, policy="all-heads")
    assert first.head_answers is not None
    assert list(first.head_answers) == ["chest", "lung", "eye"]
    assert isinstance(first.head_answers["eye"], SegmentedImage)
    assert predicted(tmp_path)[0].head_answers is None


def test_a_sheet_has_one_row_for_each_answer(tmp_path: Path) -> None:
    rows = predicted(tmp_path, confidence=0.3)
    assert [answer_of(row) for row in rows] == ["no answer", "lung: nodule", "eye: vessel"]
    assert caption(rows[0]) == "confidence 0.30"
    assert caption(predicted(tmp_path)[0]) == "0.88"
    path = prediction_sheet(rows, [image.values for image in images(tmp_path)], tmp_path / "sheet.png")
    with Image.open(path) as picture:
        one = picture.size
    prediction_sheet(rows[:1], [image.values for image in images(tmp_path)][:1], path)
    with Image.open(path) as picture:
        assert picture.size[0] == one[0]
        assert one[1] > 2.5 * picture.size[1]
