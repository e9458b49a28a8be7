"""Names of the files of a prediction."""

from __future__ import annotations

from pathlib import Path

import pytest

from lorkit.decompose.errors import UsageError
from lorkit.export.prediction.results import check_kept, distinct, mask_targets
from lorkit.export.prediction.structures import MaskOptions
from lorkit.export.prediction.writers.base import MaskLabel, MaskSource
from lorkit.export.prediction.writers.spool import Spool

LABELS = (MaskLabel(1, "vessel", "eye"),)
SOURCE = MaskSource("eye", "expert", {"eye": ""}, "1")


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


@pytest.mark.parametrize("names", [("a.png", "a_preview.png"), ("a_preview.png", "A.png")])
def test_no_preview_replaces_a_mask(names: tuple[str, str]) -> None:
    paths = [Path(name) for name in names]
    with Spool() as spool, pytest.raises(UsageError, match=r"would share the \w+ (a|A)_preview\.png"):
        mask_targets(paths, spool, SOURCE, MaskOptions(preview=True), LABELS)
    with Spool() as spool:
        assert len(mask_targets(paths, spool, SOURCE, MaskOptions(), LABELS)) == 2


def test_no_preview_replaces_an_image(tmp_path: Path) -> None:
    paths = [tmp_path / "a.bmp", tmp_path / "a_preview.png"]
    with Spool() as spool:
        targets = mask_targets(paths[:1], spool, SOURCE, MaskOptions(preview=True), LABELS)
        with pytest.raises(UsageError, match=r"the preview .*a_preview\.png would replace an image"):
            check_kept(paths, paths, targets, tmp_path, LABELS, preview=True)
        check_kept(paths, paths, targets, tmp_path, LABELS)
