"""The commands of a report judge by the limits that its gate judged by."""

from __future__ import annotations

from sample_documents import accuracy, gate, region, subset

from lorkit.decompose.runs import Run
from lorkit.export.reporting.provenance import commands_of


def test_the_gate_is_repeated_with_every_limit(a_run: Run) -> None:
    strict = accuracy(strict=True, subgroups=[subset("0-17", column="age band")])
    judged = gate({"chest": region(accuracy=strict)}, max_accuracy_drops={"chest": 0.01}, seed=7)
    said = " ".join(commands_of(a_run, [], judged))
    assert "--max-accuracy-drop 0.02,chest=0.01 --seed 7 --subgroup 'age band' --strict-subgroups" in said
