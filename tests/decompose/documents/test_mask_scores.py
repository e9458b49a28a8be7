from __future__ import annotations

from lorkit.decompose.documents.mask_scores import MaskFigures, StructureScores

OLDER = {"dice": 0.5, "nsd": 0.5, "hd95": 2.0, "dice_network_grid": 0.5, "ci": {"dice": None}}


def test_scores_of_versions_without_volumes_are_read() -> None:
    found = StructureScores.model_validate({**OLDER, "structure": "liver", "n": 3, "defined": 3, "hd95_undefined": 0})
    assert (found.volume_bias, found.empty, found.false, found.missed) == (None, None, None, None)
    assert MaskFigures.model_validate({**OLDER, "volume_bias": -1.5}).volume_bias == -1.5
