"""Seconds of stages add up."""

from __future__ import annotations

import pytest

from lorkit.decompose.data.preprocessing.stages import STAGES, StageTimes


def test_a_stage_that_runs_twice_adds_up_also_when_it_fails() -> None:
    times = iter([0.0, 1.0, 5.0, 7.5])
    stages = StageTimes(lambda: next(times))
    with stages.stage("read"):
        pass
    with pytest.raises(RuntimeError), stages.stage("read"):
        raise RuntimeError
    assert stages.seconds == dict.fromkeys(STAGES, 0.0) | {"read": 3.5}
