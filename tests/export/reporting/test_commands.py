"""The commands of a report have every option that was used."""

from __future__ import annotations

import inspect
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import typer.main
from sample_documents import gate, region

from lorkit.cli.main import app
from lorkit.cli.reference import list_commands
from lorkit.decompose.runs import Run
from lorkit.export.benchmarking.benchmark import bench
from lorkit.export.gating.gating import gate as judge
from lorkit.export.reporting import commands
from lorkit.export.runtime.given_options import options_given

WITHOUT_EFFECT = {
    "train": "--method --set --resume --dry-run --tensorboard --out --force --json",  # two are in the stored config
    "extract": "--out --force --json",
    "evaluate": "--json",
    "export": "--force --json",
    "bench": "--trust-native --json",
    "gate": "--trust-native --update-baseline --because --junit --markdown --annotations --json",
}
"""Options that change no artifact or measurement of the run."""


def origin(run: Run, **stated: str) -> Run:
    """The run as if it was made from another."""
    extra = {**run.manifest.extra, "origin": {"kind": "run", "sha256": "0" * 64, **stated}}
    return Run(run.path, run.manifest.model_copy(update={"extra": extra}))


def expert(rank: int | None = None, *, recalibrated: bool = False) -> Any:
    return SimpleNamespace(reduction=rank and SimpleNamespace(rank=rank), recalibrated=recalibrated)


def evaluated(model: str = "experts", split: str = "test", **stated: Any) -> Any:
    nothing = {"regions": {"chest": None, "knee": None}, "data": None, "outside": None, "flips": False}
    return SimpleNamespace(model=model, split=split, **nothing | stated)


def exported(region: str, target: str = "onnx", precision: str = "fp32", *, synthetic: bool = False) -> Any:
    return SimpleNamespace(key=(region, target, "cpu-generic", precision), synthetic=synthetic)


def choice(seconds: float = 7.5) -> Any:
    conditions = SimpleNamespace(max_accuracy_drop=0.01, seconds=seconds, batches=[8, 1], threads=2)
    asked = {"target_option": "onnx", "precision_option": "auto"}
    return SimpleNamespace(profile="cpu-generic", conditions=conditions, **asked)


def timed(*options: str, at: str = "1", measured_by_report: bool = False) -> Any:
    return SimpleNamespace(options=None if measured_by_report else list(options), measured=at)


def test_training_names_the_change_and_its_source(a_run: Run) -> None:
    config = "runs/by-hand/config.yaml"
    assert commands.train_command(a_run, None) == f"decompose train {config}"
    added = origin(a_run, change="add-region", region="knee")
    assert commands.train_command(added, a_run) == f"decompose train {config} --from by-hand --add-region knee"
    tuned = origin(a_run, change="finetune", region="knee")
    assert commands.train_command(tuned, a_run) == f"decompose train {config} --from runs/by-hand/experts/knee"
    removed = origin(a_run, change="remove-region")
    before = SimpleNamespace(id="before", regions=SimpleNamespace(names=("chest", "hip", "knee")))
    assert commands.train_command(removed, before) == "decompose train --from before --remove-region hip"  # type: ignore[arg-type]
    assert commands.train_command(removed, None) == "decompose train --from RUN --remove-region NAME"


def test_experts_are_extracted_with_their_rank_and_norms(a_run: Run) -> None:
    start = "decompose extract --run by-hand"
    assert commands.extract_commands(a_run, {"chest": expert(), "knee": None}) == [f"{start} --region all"]
    found = {"chest": expert(2), "knee": expert(recalibrated=True), "router": None, "region-id": None}
    assert commands.extract_commands(a_run, found) == [
        f"{start} --region chest --rank 2",
        f"{start} --region knee --recalibrate",
        f"{start} --router",
        f"{start} --region-id",
    ]
    assert commands.extract_commands(a_run, {}) == []


def test_evaluations_name_model_part_and_files(a_run: Run) -> None:
    start = "decompose evaluate --run by-hand"
    sheet, outside = SimpleNamespace(name="my rows.csv"), SimpleNamespace(data=SimpleNamespace(name="hands"))
    documents = [
        evaluated("student", "val", flips=True),
        evaluated(split="data", data=sheet, outside=outside, regions={"knee": None}),
    ]
    assert commands.evaluate_commands(a_run, documents) == [
        f"{start} --model student --split val --flips",
        f"{start} --region knee --model experts --data 'my rows.csv' --outside hands",
    ]


def test_exports_name_the_build_and_the_limits_of_auto(a_run: Run) -> None:
    build = "decompose export --run by-hand --target {} --profile cpu-generic --precision {}"
    exports = [exported("chest"), exported("knee"), exported("knee", precision="int8")]
    assert commands.export_commands(a_run, exports, {"knee": [choice()]}) == [
        build.format("onnx", "auto")
        + " --max-accuracy-drop 0.01 --max-seconds 7.5 --batch 8,1 --threads 2 --region knee",
        build.format("onnx", "fp32"),
        build.format("onnx", "int8") + " --region knee",
    ]
    drawn = [exported(name, "triton", synthetic=True) for name in ("chest", "knee")]
    assert commands.export_commands(a_run, drawn, {}) == [build.format("triton", "fp32") + " --allow-synthetic"]


def test_timings_are_repeated_once_each_but_not_those_of_report(a_run: Run) -> None:
    rows = [timed("--seed", "3", at="2"), timed(at="1"), timed("--seed", "3"), timed(at="0", measured_by_report=True)]
    found = commands.bench_commands(a_run, SimpleNamespace(exports=rows))  # type: ignore[arg-type]
    assert sorted(found) == ["decompose bench --run by-hand", "decompose bench --run by-hand --seed 3"]
    assert commands.bench_commands(a_run, None) == []


def test_a_newer_gate_of_one_region_comes_after_that_of_all(a_run: Run) -> None:
    new = region(created="2026-01-02", options=["--region", "chest", "--max-seconds", "5"])
    judged = gate({"chest": new, "knee": region(created="2026-01-01", options=["--data", "a b.csv"])})
    assert commands.gate_commands(a_run, judged) == [
        "decompose gate --run by-hand --data 'a b.csv'",
        "decompose gate --run by-hand --region chest --max-seconds 5",
    ]


def _everything(function: Any) -> list[str]:
    """Words of a call with another value of every option."""
    names = inspect.signature(function).parameters
    others: dict[str, object] = {name: "x" for name in names}
    others |= {"batch": [2], "threads": [2], "subgroup": ["x"], "strict_subgroups": True, "seed": 1, "max_seconds": 1.0}
    return options_given(function, others, Path("runs/by-hand"))


@pytest.mark.parametrize("verb", WITHOUT_EFFECT)
def test_every_option_is_shown_or_has_no_effect(verb: str, a_run: Run) -> None:
    changes = [origin(a_run, change=change, region="x") for change in ("add-region", "remove-region")]
    experts = {"chest": expert(2, recalibrated=True), "router": None, "region-id": None}
    sheet = SimpleNamespace(name="x")
    some = evaluated(data=sheet, outside=SimpleNamespace(data=sheet), flips=True, regions={"knee": None})
    exports = [exported("chest", "triton", synthetic=True)]
    given = SimpleNamespace(given=SimpleNamespace(source="x.onnx"), regions=a_run.regions, place="networks/x")
    rows = SimpleNamespace(exports=[timed(*_everything(bench))])
    lines = {
        "train": [commands.train_command(one, None) for one in changes],
        "extract": commands.extract_commands(a_run, experts),
        "evaluate": commands.evaluate_commands(a_run, [some, evaluated()]),
        "export": [
            *commands.export_commands(a_run, exports, {"chest": [choice()]}),
            commands.train_command(given, None),  # type: ignore[arg-type]
        ],
        "bench": commands.bench_commands(a_run, rows),  # type: ignore[arg-type]
        "gate": commands.gate_commands(a_run, gate({"chest": region(options=_everything(judge))})),
    }[verb]
    shown = {word for line in lines for word in line.split() if word.startswith("--")}
    (command,) = (one for path, one in list_commands(typer.main.get_command(app)) if path == f"decompose {verb}")
    options = {one.opts[0] for one in command.params if one.param_type_name == "option"} - {"--help"}
    assert shown | {*WITHOUT_EFFECT[verb].split()} == options
    assert not shown & {*WITHOUT_EFFECT[verb].split()}
