"""The commands of a report judge by the limits that its gate judged by."""

from __future__ import annotations

from sample_documents import accuracy, gate, region, subset

from lorkit.decompose.runs import Run, exports_of
from lorkit.export.benchmarking.benchmark import bench
from lorkit.export.gating.gating import gate as judge
from lorkit.export.gating.record import read_verdicts
from lorkit.export.reporting.provenance import commands_of
from lorkit.export.runtime.exported import read_exported


def test_the_gate_is_repeated_with_every_limit(a_run: Run) -> None:
    strict = accuracy(strict=True, by_subgroup=[subset("0-17", column="age band")])
    judged = gate({"chest": region(accuracy_test=strict)}, max_accuracy_drops={"chest": 0.01}, seed=7)
    said = " ".join(commands_of(a_run, [], judged))
    assert "--max-accuracy-drop 0.02,chest=0.01 --seed 7 --subgroup 'age band' --strict-subgroups" in said


def test_stored_measurements_are_repeated_with_the_options_that_were_given(measured: Run) -> None:
    bench(run=measured.path, region="chest", max_seconds=0.5, seed=3)
    judge(measured.path, region="knee", max_seconds=1.0, max_accuracy_drop=0.05)
    exports = [read_exported(entry.path) for entry in exports_of(measured)]
    assert commands_of(measured, exports, read_verdicts(measured)) == [
        "decompose train runs/by-hand/config.yaml",
        "decompose extract --run by-hand --region all",
        *(
            f"decompose evaluate --run by-hand --model {model} --split test"
            for model in ("experts", "foundation", "student")
        ),
        "decompose export --run by-hand --target onnx --profile cpu-generic --precision fp32",
        "decompose bench --run by-hand --region chest --max-seconds 0.5 --seed 3",
        "decompose gate --run by-hand --region knee --max-accuracy-drop 0.05 --max-seconds 1",
        "decompose report --run by-hand",
    ]
