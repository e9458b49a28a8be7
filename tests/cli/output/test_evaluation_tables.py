"""Tables of `evaluate`."""

from __future__ import annotations

import re
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


@pytest.mark.parametrize("columns", [80, 200])
def test_no_heading_is_folded_on_a_narrow_terminal(
    columns: int, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    names = ("accuracy", "balanced_accuracy", "auroc", "ece")
    rows: list[list[object]] = [["chest", 1200, *["0.900 [0.850, 0.950]"] * 4], ["mean", "", *["0.7"] * 4]]
    monkeypatch.setenv("COLUMNS", str(columns))
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    evaluation_tables._scores("experts on test", names, rows)
    lines = re.sub(r"\x1b\[[\d;]*m", "", capsys.readouterr().out).splitlines()
    assert max(map(len, lines)) <= columns
    if columns == 80:
        assert [line.split() for line in lines[1:4]] == [
            ["region", "n", "measure", "value"],
            ["chest", "1,200", "accuracy", "0.900", "[0.850,", "0.950]"],
            ["balanced_accuracy", "0.900", "[0.850,", "0.950]"],
        ]
        assert len(lines) == 10
    else:
        assert lines[1].split() == ["region", "n", *names]
