"""The commands of a report judge by the limits that its gate judged by."""

from __future__ import annotations

from lorkit.decompose.runs import Run
from lorkit.export.reporting.provenance import commands_of


def test_the_gate_is_repeated_with_every_limit(a_run: Run) -> None:
    accuracy = {"strict": True, "subgroups": [{"column": "age band", "name": "0-17"}]}
    gate = {"margin": 0.03, "max_accuracy_drop": 0.02, "max_accuracy_drops": {"chest": 0.01}, "seed": 7}
    said = " ".join(commands_of(a_run, [], {**gate, "regions": {"chest": {"accuracy": accuracy}}}))
    assert "--max-accuracy-drop 0.02,chest=0.01 --seed 7 --subgroup 'age band' --strict-subgroups" in said
