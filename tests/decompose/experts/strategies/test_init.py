from __future__ import annotations

import pytest

from lorkit.decompose.errors import UsageError
from lorkit.decompose.experts.strategies import STRATEGIES, get_strategy


def test_strategies_are_found_by_name_and_unknown_ones_listed() -> None:
    assert list(STRATEGIES) == ["grouped", "merged", "sampled", "split", "taps"]
    assert all(get_strategy(name).name == name for name in STRATEGIES)
    with pytest.raises(UsageError, match=r"unknown strategy 'tap'.*auto, grouped, .*did you mean 'taps'"):
        get_strategy("tap")
