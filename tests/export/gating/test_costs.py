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


@pytest.mark.parametrize("missing", ["macs", "size"])
def test_without_a_file_or_a_number_nothing_is_judged(workshop: Any, tmp_path: Path, missing: str) -> None:
    one = read_exported(workshop.write_export(tmp_path / "a", owner="expert", region="chest"))
    if missing == "macs":
        one = replace(one, info=one.info.with_changes(macs=None))
        assert judge_costs(ExportPair(one, one), 0.03)[0].costs["macs"].verdict == "not_judged"
    else:
        (one.path / "model.onnx").unlink()
        assert judge_costs(ExportPair(one, one), 0.03)[0].costs["nodes"].verdict == "not_judged"
