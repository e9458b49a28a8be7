"""Tables of `compare`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from lorkit.cli.output import comparison_tables
from lorkit.decompose.documents.compare import CompareDocument

GAIN = {"label": "kd", "over": "stl", "seeds": [0], "gain": 0.04, "ci": [0.03, 0.06]}
OTHERS = {"random_over_student": None, "over_random": None, "over_probe": None}


@pytest.mark.parametrize("reason", [None, "the foundation is an ONNX file"])
def test_gains_stand_beside_their_controls(
    draft: Callable[..., Any], capsys: pytest.CaptureFixture[str], reason: str | None
) -> None:
    costs = {"parameters": 1, "macs": 2, "deployed_bytes": 3, "train_seconds": 4.0}
    row = {"label": "kd", "fraction": 1.0, "seed_count": 1, "ci": None, "sd": None, "regions": {"chest": 0.7}, **costs}
    control = {"label": "kd", "fraction": 1.0, "over_student": GAIN, **OTHERS, "without_random_teacher": reason}
    known = {
        "metric": "balanced_accuracy", "split": "test", "foundation": None, "synthetic": False, "warnings": [],
        "rows": [{"regions": {"chest": {}}}], "compared_pairs": [], "controls": [control],
        "table": [{**row, "exposure": {}, "prediction": None, "balanced_accuracy": 0.7}],
    }  # fmt: skip
    comparison_tables.comparison(draft(CompareDocument, known))
    shown = "".join(capsys.readouterr())
    (line,) = (one for one in shown.splitlines() if "[0.030, 0.060]" in one)
    assert line.split() == ["kd", "1.000", "0.700", "0.040", "[0.030,", "0.060]", "-", "-", "-"]
    assert ("no random teacher: the foundation is an ONNX file" in shown) == (reason is not None)
    comparison_tables.comparison(draft(CompareDocument, {**known, "controls": []}))
    assert "gains" not in "".join(capsys.readouterr())
