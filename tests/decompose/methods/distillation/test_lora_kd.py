"""`lora-kd` has its teacher made first."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from typing import Any

import pytest

from lorkit.decompose.methods import HasAdapter, get_method


@pytest.mark.skipif(importlib.util.find_spec("peft") is None, reason="the extra 'peft' is not installed")
def test_lora_kd_names_who_makes_its_teacher(make_distilled: Callable[..., Any]) -> None:
    method = get_method("lora-kd")
    assert isinstance(method, HasAdapter)
    assert method.adapter.starts_from_foundation
    assert (method.uses_teacher, method.separate, method.starts_from_foundation) == (True, True, False)
    assert not isinstance(get_method("kd"), HasAdapter)
    config, _, _ = make_distilled("lora-kd", "kd.weight=0")
    assert method.notices(config) == ["kd.weight is 0: this term is off"]
