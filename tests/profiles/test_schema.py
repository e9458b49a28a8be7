"""The profile schema: what it takes, and what it refuses by name."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from lorkit.profiles import Profile

GOOD: dict[str, Any] = {
    "name": "desk",
    "description": "a desk machine",
    "device": {"kind": "cpu", "vendor": "any", "architecture": "any"},
    "targets": ["onnx"],
    "precisions": ["fp32"],
}


def test_defaults_state_no_budget() -> None:
    profile = Profile.model_validate(GOOD)
    assert (profile.budget.p95_ms, profile.budget.peak_mib) == (None, None)
    assert (profile.batch_sizes.min, profile.runtimes) == (1, {})


@pytest.mark.parametrize(
    ("change", "names"),
    [
        ({"budgets": {}}, "budgets"),
        ({"name": "Desk Top"}, "name"),
        ({"precisions": ["fp13"]}, "precisions"),
        ({"targets": []}, "targets"),
        ({"batch_sizes": {"min": 8, "opt": 4, "max": 16}}, "rising order"),
        ({"device": {"kind": "gpu", "vendor": "x", "architecture": "x", "compute_capability": "9"}}, "compute_cap"),
        ({"budget": {"p95_ms": -1}}, "p95_ms"),
    ],
)
def test_refusals_name_the_field(change: dict[str, Any], names: str) -> None:
    with pytest.raises(ValidationError, match=names):
        Profile.model_validate({**GOOD, **change})


def test_a_profile_cannot_be_changed() -> None:
    profile = Profile.model_validate(GOOD)
    with pytest.raises(ValidationError):
        profile.name = "other"
