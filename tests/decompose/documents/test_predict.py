from __future__ import annotations

import pytest

from lorkit.decompose.documents.predict import LabelledImage, SegmentedImage


@pytest.mark.parametrize(
    ("kind", "field", "answer"), [(LabelledImage, "label", "x"), (SegmentedImage, "structures", {})]
)
def test_an_image_without_an_answer_was_refused(
    kind: type[LabelledImage] | type[SegmentedImage], field: str, answer: object
) -> None:
    assert kind.model_construct(**{field: None}).refused
    assert not kind.model_construct(**{field: answer}).refused
