"""Tables of exports: parts of a region, answers that changed, candidates of a precision, the first wrong layer."""

from __future__ import annotations

from typing import Any

import pytest
from sample_documents import SUBJECT, accuracy, choice_conditions, flip, gate, latency, region, subset

from lorkit.cli.output import export_tables
from lorkit.decompose.data.preprocessing.stages import STAGES
from lorkit.decompose.documents.bench import BenchDocument
from lorkit.decompose.documents.export_results import ExportCandidate, ExportChoice
from lorkit.decompose.documents.gate import GateDocument
from lorkit.decompose.documents.verify import VerifyDocument
from lorkit.decompose.machine import fingerprint, tool_versions

PART = subset("rim", None, None, column=None, verdict="not_judged", drop=None, ci=None, n=1234, groups=7)


def judged(**changes: Any) -> GateDocument:
    found = accuracy(**{"drop": 0.125, "ci": [0.1, 0.15], "allowed": 0.25, "decidable": 0.3, **changes})
    return gate({"chest": region(accuracy_test=found, reasons=["it is fast"])})


def test_a_verdict_shows_its_intervals_and_reasons(capsys: pytest.CaptureFixture[str]) -> None:
    export_tables.verdicts(judged())
    text = capsys.readouterr().out
    for part in ("PASS", "0.500 [0.400, 0.600]", "-0.125 [-0.150, -0.100]", "0.250", "chest: it is fast"):
        assert part in text
    assert "Holm" not in text


def test_structures_and_subgroups_get_a_row_each(capsys: pytest.CaptureFixture[str]) -> None:
    subgroup = subset("f", verdict="pass", p_within_holm=0.01)
    export_tables.verdicts(judged(by_structure=[PART], by_subgroup=[subgroup]))
    rows = {row.split()[1]: row for row in capsys.readouterr().out.splitlines() if row.startswith("chest ")}
    assert rows["rim"].split() == ["chest", "rim", "NOT", "JUDGED", "-", "1,234", "7", "-", "-"]
    assert rows["sex=f"].endswith("0.010")


def test_five_changed_answers_are_shown_and_the_others_counted(capsys: pytest.CaptureFixture[str]) -> None:
    flips = [flip(f"case{n}") for n in range(7)]
    export_tables.verdicts(judged(changed_answers=flips))
    text = capsys.readouterr().out
    assert [f"case{n}" in text for n in range(7)] == [True] * 5 + [False] * 2
    assert "2 more cases" in text


def test_a_volume_gets_the_seconds_of_its_stages(capsys: pytest.CaptureFixture[str]) -> None:
    seconds = dict(zip(STAGES, (0.5, 1.5, 2.5, 3.5, 4.5, 5.5, 6.5, 7.5), strict=True))
    costs = {"windows": 27, "batch": 2, "stage_seconds": seconds, "predicted_peak_mib": 811.0, "peak_mib": 907.0}
    whole = {"input": "drawn nii, 32 x 32 x 32", "n": 1, "read_ms": 500, "prepare_ms": 1500, "engine_ms": 3500,
             "answer_ms": 26500, "total_ms": 32000, "volume": costs}  # fmt: skip
    timed = dict.fromkeys(("batch", "threads", "median_ms", "throughput", "peak_mib", "size_bytes"), 1)
    row = {**SUBJECT, **timed, "p90_ms": None, "p99_ms": None, "samples_ms": []}
    facts = {"created": "", "machine": fingerprint(), "tools": tool_versions(), "comparisons": []}
    for given in (None, whole):
        document = BenchDocument.model_validate({**facts, "warnings": [], "exports": [row | {"end_to_end": given}]})
        export_tables.benchmark(document)
        text = capsys.readouterr().out
        assert ("seconds from the file to the mask" in text) == (given is not None)
    parts = ("inverse resample", "32 x 32 x 32", "5.500", "32.000", "907.000", "811.000")
    assert all(part in text for part in parts), text


def test_replaced_baselines_are_named_by_the_start_of_their_digests() -> None:
    assert export_tables.replacements(judged()) == []
    assert "PASS" in export_tables.replacements(gate(replaced_baselines=[]))[0]
    same, other = "a" * 64, "b" * 64
    about = {"by": other, "verdict": "pass", "because": None, "who": "ward", "when": "now"}
    entries = [{"key": key, "replaced": old, **about} for key, old in (("one", other), ("two", same))]
    one, two = export_tables.replacements(gate(replaced_baselines=entries))
    assert "one" in one
    assert other[:12] not in one
    assert all(part in two for part in ("two", same[:12], other[:12]))
    assert same[:13] not in two


def test_precisions_that_lost_say_why(capsys: pytest.CaptureFixture[str]) -> None:
    row = ExportCandidate(
        target="openvino",
        precision="int8",
        verdict="lost",
        latency_test=latency(),
        accuracy_test=None,
        reason="too inaccurate",
    )
    about = {"target": "onnx", "profile": "any", "precision": "fp32", "reasons": [], "conditions": choice_conditions()}
    about |= {"target_option": "auto", "precision_option": "auto", "baseline": "onnx"}
    export_tables.candidates({"chest": ExportChoice.model_validate({**about, "candidates": [row]})})
    assert "0.500 [0.400, 0.600]" in (text := capsys.readouterr().err), "stdout is for paths"
    assert "too inaccurate" in text
    assert "openvino int8" in text
    assert "against onnx fp32" in text
    export_tables.candidates({})
    assert "".join(capsys.readouterr()) == ""


@pytest.mark.parametrize(
    ("cut", "parts"),
    [
        ({"reason": "no ONNX"}, ["no ONNX"]),
        ({"layer": None, "limit": 1e-3}, ["1.0e-03"]),
        (
            {"layer": "conv3", "op": "Conv", "layer_error": None, "before": 2e-4},
            ["conv3 (Conv)", "not a number", "2.0e-04"],
        ),
    ],
)
def test_the_first_wrong_layer_is_named(
    capsys: pytest.CaptureFixture[str], cut: dict[str, Any], parts: list[str]
) -> None:
    row = {**SUBJECT, "path": "here", "max_abs": 0.5, "tolerance": 1e-4, "of_margin": 1.0, "label_flips": 3}
    row |= {"flip_rate": 0.4, "flip_limit": 0.1, "n": 8, "inputs": "real", "status": "failed", "against": "source"}
    row |= {"provider": "CPU", "batches": [], "bisection": {"layer": None, **cut}}
    export_tables.parity(VerifyDocument.model_validate({"status": "passed", "exports": [row], "not_run": []}))
    lines = capsys.readouterr().out.splitlines()
    (told,) = [line for line in lines if line.startswith("here: ")]
    assert all(part in told for part in parts)
    assert "5.0e-01" in "\n".join(lines)


def test_heads_of_a_network_for_several_regions_get_a_row_each(capsys: pytest.CaptureFixture[str]) -> None:
    one = {"verdict": "fail", "reasons": [], "baseline": SUBJECT}
    found = accuracy(drop=0.5, ci=[0.4, 0.6], allowed=0.25, n=1234, verdict="fail", changed_answers=[flip("a case")])
    export_tables.verdicts(gate({"router": region(head_verdicts={"knee": {**one, "accuracy_test": found}})}))
    rows = [row.split() for row in capsys.readouterr().out.splitlines() if row.startswith("router") and "knee" in row]
    assert rows[0] == ["router", "knee", "FAIL", "-0.500", "[-0.600,", "-0.400]", "0.250", "1,234"]
    assert rows[1][:4] == ["router:", "knee", "a", "case"]
