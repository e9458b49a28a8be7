"""Tables of exports: parts of a region, answers that changed, candidates of a precision, the first wrong layer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from lorkit.cli.output import export_tables
from lorkit.decompose.documents.verify import VerifyDocument

ACCURACY = {"drop": 0.125, "ci": [0.1, 0.15], "allowed": 0.25, "decidable": 0.3}
PART = {"name": "rim", "verdict": "not_judged", "drop": None, "ci": None, "n": 1234, "groups": 7}


def gate(**accuracy: Any) -> dict[str, Any]:
    row = {"verdict": "pass", "latency": {"ratio": 0.5, "ci": [0.4, 0.6]}, "accuracy": {**ACCURACY, **accuracy}}
    return {"verdict": "pass", "regions": {"chest": {**row, "reasons": ["it is fast"]}}}


def test_a_verdict_shows_its_intervals_and_reasons(capsys: pytest.CaptureFixture[str]) -> None:
    export_tables.verdicts(gate())
    text = capsys.readouterr().err
    for part in ("PASS", "0.500 [0.400, 0.600]", "-0.125 [-0.150, -0.100]", "0.250", "chest: it is fast"):
        assert part in text
    assert "Holm" not in text


def test_structures_and_subgroups_get_a_row_each(capsys: pytest.CaptureFixture[str]) -> None:
    subgroup = {**PART, "column": "sex", "name": "f", "verdict": "pass", "p_within_holm": 0.01}
    export_tables.verdicts(gate(structures=[PART], subgroups=[subgroup]))
    rows = {row.split()[1]: row for row in capsys.readouterr().err.splitlines() if row.startswith("chest ")}
    assert rows["rim"].split() == ["chest", "rim", "NOT", "JUDGED", "-", "1,234", "7", "-", "-"]
    assert rows["sex=f"].endswith("0.010")


def test_five_changed_answers_are_shown_and_the_others_counted(capsys: pytest.CaptureFixture[str]) -> None:
    flips = [{"case": f"case{n}", "truth": "x", "baseline": "x", "candidate": "y", "change": "worse"} for n in range(7)]
    export_tables.verdicts(gate(flips=flips))
    text = capsys.readouterr().err
    assert [f"case{n}" in text for n in range(7)] == [True] * 5 + [False] * 2
    assert "2 more cases" in text


def test_replaced_baselines_are_named_by_the_start_of_their_digests() -> None:
    assert export_tables.replacements(gate()) == []
    assert "PASS" in export_tables.replacements({**gate(), "replaced_baselines": []})[0]
    same, other = "a" * 64, "b" * 64
    entries = [{"key": key, "replaced": old, "by": other} for key, old in (("one", other), ("two", same))]
    one, two = export_tables.replacements({**gate(), "replaced_baselines": entries})
    assert "one" in one
    assert other[:12] not in one
    assert all(part in two for part in ("two", same[:12], other[:12]))
    assert same[:13] not in two


def test_precisions_that_lost_say_why(capsys: pytest.CaptureFixture[str]) -> None:
    row = {"precision": "int8", "verdict": "fail", "latency": {"ratio": 0.5, "ci": [0.4, 0.6]}, "accuracy": None}
    export_tables.precisions({"chest": {"candidates": [{**row, "reason": "too inaccurate"}]}})
    assert "0.500 [0.400, 0.600]" in (text := capsys.readouterr().err)
    assert "too inaccurate" in text
    export_tables.precisions({})
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("cut", "parts"),
    [
        ({"skipped": "no ONNX"}, ["no ONNX"]),
        ({"layer": None, "limit": 1e-3}, ["1.0e-03"]),
        ({"layer": "conv3", "op": "Conv", "error": None, "before": 2e-4}, ["conv3 (Conv)", "not a number", "2.0e-04"]),
    ],
)
def test_the_first_wrong_layer_is_named(
    capsys: pytest.CaptureFixture[str], draft: Callable[..., Any], cut: dict[str, Any], parts: list[str]
) -> None:
    row = {"region": "chest", "owner": "expert", "target": "onnx", "precision": "fp32", "status": "failed"}
    row |= {"max_abs": 0.5, "tolerance": 1e-4, "label_flips": 3, "n": 8, "inputs": "real", "path": "here"}
    export_tables.parity(draft(VerifyDocument, {"exports": [{**row, "bisection": cut}]}))
    lines = capsys.readouterr().err.splitlines()
    (told,) = [line for line in lines if line.startswith("here: ")]
    assert all(part in told for part in parts)
    assert "5.0e-01" in "\n".join(lines)
