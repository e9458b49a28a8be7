"""Tables of `evaluate`."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from lorkit.cli.output import evaluation_tables


@pytest.mark.parametrize("mean", [0.75, None])
def test_the_mean_over_regions_stands_with_its_interval_or_not_at_all(
    mean: float | None, capsys: pytest.CaptureFixture[str]
) -> None:
    block: Any = SimpleNamespace(task="classification", n=8, value=lambda name: 0.7, ci={}, source="own", units=None)
    document: Any = SimpleNamespace(
        model="experts", split="test", regions={"chest": block, "knee": block}, means={"accuracy": mean},
        mean_ci={"accuracy": (0.7, 0.8)}, warnings=[], synthetic=False, predicted=None, region_prediction=None,
    )  # fmt: skip
    evaluation_tables.evaluation(document)
    shown = "".join(capsys.readouterr())
    assert ("mean" in shown) == (mean is not None)
    assert ("0.750 [0.700, 0.800]" in shown) == (mean is not None)
