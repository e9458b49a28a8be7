from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.stats import binom

from lorkit import profiles
from lorkit.decompose.errors import ArtifactError
from lorkit.export.benchmarking.timing_statistics import percentile_bound, percentile_floor
from lorkit.export.gating import budgets
from lorkit.export.gating.budgets import judge_budget
from lorkit.export.runtime.exported import Exported, read_exported

Make = Callable[..., Exported]


@pytest.fixture
def subject(workshop: Any, tmp_path: Path) -> Make:
    path = workshop.write_export(tmp_path / "chest", owner="expert", region="chest")

    def make(**changes: Any) -> Exported:
        found = read_exported(path)
        hardware = profiles.load("cpu-generic").model_dump(mode="json") | changes
        return replace(found, info=found.info.with_changes(hardware=hardware))

    return make


def test_without_a_budget_nothing_is_judged(subject: Make) -> None:
    assert judge_budget(subject(), seconds=1, seed=0) == (None, [])
    older = subject()
    older = replace(older, info=older.info.with_changes(hardware=None))
    assert judge_budget(older, seconds=1, seed=0) == (None, [])


@pytest.mark.parametrize(("p95_ms", "verdict"), [(1e4, "pass"), (1e-4, "fail")])
def test_milliseconds_are_judged_on_the_hardware_they_were_stated_for(
    subject: Make, p95_ms: float, verdict: str
) -> None:
    block, reasons = judge_budget(subject(budget={"p95_ms": p95_ms, "peak_mib": None}), seconds=0.2, seed=0)
    assert block is not None
    assert block.verdict == block.measurements["p95_ms"].verdict == verdict
    assert block.measurements["p95_ms"].n == len(block.measurements["p95_ms"].samples_ms) >= 59
    assert f"the budget of {p95_ms:g}" in reasons[0]


def test_memory_is_that_of_a_process_of_its_own(subject: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(budgets, "footprint", lambda path: {"peak_mib": 12.0})
    for limit, verdict in ((12.0, "pass"), (11.9, "fail")):
        block, _ = judge_budget(subject(budget={"p95_ms": None, "peak_mib": limit}), seconds=1, seed=0)
        assert block is not None
        assert block.verdict == verdict


def test_other_hardware_is_not_judged(subject: Make) -> None:
    flags = {"gpu": None, "flags": ["no_such_instruction"], "priority": 0}
    block, reasons = judge_budget(subject(budget={"p95_ms": 1e-4, "peak_mib": None}, match=flags), seconds=1, seed=0)
    assert block is not None
    assert block.verdict == "not_applicable"
    assert "does not match" in reasons[0]


def test_a_profile_that_is_none_is_refused(subject: Make) -> None:
    with pytest.raises(ArtifactError, match="budget"):
        judge_budget(subject(budget={"p95_ms": -1, "peak_mib": None}), seconds=1, seed=0)


@pytest.mark.parametrize("count", [59, 60, 100, 400])
def test_the_bounds_hold_with_their_confidence_and_no_rank_beyond_them_would(count: int) -> None:
    ordered = np.arange(1.0, count + 1)
    high, low = percentile_bound(ordered, 0.95), percentile_floor(ordered, 0.95)
    assert high is not None
    assert low is not None
    # x_(r) >= q with probability P(Bin < r); x_(r) <= q with probability P(Bin >= r)
    assert binom.cdf(high - 1, count, 0.95) >= 0.95 > binom.cdf(high - 2, count, 0.95)
    assert binom.sf(low - 1, count, 0.95) >= 0.95 > binom.sf(low, count, 0.95)


def test_too_few_samples_have_no_floor() -> None:
    assert percentile_floor([1.0], 0.05) is None
