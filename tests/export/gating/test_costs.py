from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from lorkit.export.gating.costs import judge_costs
from lorkit.export.runtime.exported import ExportPair, read_exported


def test_more_nodes_are_stated_and_fail_nothing(workshop: Any, tmp_path: Path) -> None:
    small, large = (
        read_exported(workshop.write_export(tmp_path / name, owner="expert", region="chest", work=work))
        for name, work in (("small", 1), ("large", 3))
    )
    same, reasons = judge_costs(ExportPair(small, small), 0.03)
    assert same.verdict == "pass"
    assert [same.costs[name].ratio for name in ("bytes", "macs", "nodes", "peak_activation_bytes")] == [1, 1, 1, 1]
    assert len(reasons) == 2
    grown, reasons = judge_costs(ExportPair(small, large), 10.0)
    assert grown.verdict == "pass"
    assert grown.costs["nodes"].candidate == grown.costs["nodes"].baseline + 4
    assert any("nodes" in reason and "not judged" in reason for reason in reasons)
    assert judge_costs(ExportPair(small, large), 0.03)[0].verdict == "fail"


def test_without_a_file_nothing_is_judged(workshop: Any, tmp_path: Path) -> None:
    one = read_exported(workshop.write_export(tmp_path / "a", owner="expert", region="chest"))
    (one.path / "model.onnx").unlink()
    costs = judge_costs(ExportPair(one, one), 0.03)[0].costs
    assert (costs["nodes"].verdict, costs["macs"].verdict) == ("not_judged", "not_judged")


@pytest.mark.parametrize("stated", [None, 1])
def test_multiply_accumulates_are_counted_in_the_file(workshop: Any, tmp_path: Path, stated: int | None) -> None:
    one = read_exported(workshop.write_export(tmp_path / "a", owner="expert", region="chest", work=2, width=4))
    one = replace(one, info=one.info.with_changes(macs=stated))
    pixels = 16 * 16  # a convolution of one channel to four, two of four to four, and a matrix of two
    wanted = 9 * pixels * (4 + 2 * 4 * 4) + 2
    assert judge_costs(ExportPair(one, one), 0.03)[0].costs["macs"].candidate == wanted
