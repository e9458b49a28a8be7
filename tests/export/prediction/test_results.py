"""Names of the files of a prediction."""

from __future__ import annotations

import pytest

from lorkit.export.prediction.results import distinct


@pytest.mark.parametrize(
    ("stems", "expected"),
    [
        (["eye", "eye", "eye-2"], ["eye", "eye-3", "eye-2"]),
        (["eye-2", "eye", "eye"], ["eye-2", "eye", "eye-3"]),
        (["Eye", "eye"], ["Eye", "eye-2"]),
        (["predictions", "statistics"], ["predictions-2", "statistics-2"]),
    ],
)
def test_every_file_holds_its_own_images_answer(stems: list[str], expected: list[str]) -> None:
    assert distinct(stems) == expected
