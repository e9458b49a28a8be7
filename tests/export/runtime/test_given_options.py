"""Options that were given are stored as words of the command line."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

from lorkit.export.benchmarking.benchmark import bench
from lorkit.export.gating.gating import gate
from lorkit.export.runtime.given_options import options_given


def given(function: Any, home: Path | None = None, **values: object) -> list[str]:
    defaults = {name: one.default for name, one in inspect.signature(function).parameters.items()}
    return options_given(function, defaults | values, home)


def test_defaults_are_left_out_however_they_are_written() -> None:
    assert given(bench) == given(bench, region="all", batch=[1], threads=[1], max_seconds=60, seed=0) == []
    assert given(gate, max_accuracy_drop={"*": 0.02}, subgroup=[], because="x", update_baseline=Path("store")) == []


def test_values_are_written_as_the_command_line_reads_them() -> None:
    words = given(bench, batch=[1, 8], threads=[2, None], max_seconds=0.1234567)
    assert words == ["--batch", "1,8", "--threads", "2,0", "--max-seconds", "0.1234567"]
    drops = {"*": 0.05, "chest": 0.01}
    words = given(gate, max_accuracy_drop=drops, subgroup=["sex", "age band"], strict_subgroups=True)
    assert words == [
        *("--max-accuracy-drop", "0.05,chest=0.01", "--subgroup", "sex", "--subgroup", "age band"),
        "--strict-subgroups",
    ]


def test_files_outside_the_run_are_names(tmp_path: Path) -> None:
    home = tmp_path / "runs" / "a"
    inside = home / "exports" / "knee" / "x"
    words = given(gate, home, candidate=inside, data=str(tmp_path / "patients" / "rows.csv"))
    assert words == ["--candidate", "runs/a/exports/knee/x", "--data", "rows.csv"]
