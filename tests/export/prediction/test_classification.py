"""A classifier of volumes answers alike before and after its export."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from lorkit.export.building.exporting import export
from lorkit.export.prediction.prediction import predict


def test_a_classifier_of_volumes_is_exported_and_predicts(
    write_volume: Callable[..., Path], small_backbone: None, write_expert: Callable[..., Path], tmp_path: Path
) -> None:
    expert = write_expert(tmp_path / "expert", (8, 10, 12), task="classification")
    (result,) = export(expert, profile="cpu-generic").exports
    one, two = (
        predict(path, [write_volume(tmp_path / "a.nii.gz")]).to_json()["predictions"][0]["probabilities"]
        for path in (expert, result.path)
    )
    assert one == pytest.approx(two, abs=1e-5)
