from __future__ import annotations

import importlib.util

import pytest

from lorkit.decompose.config import TrainConfig
from lorkit.decompose.errors import MissingRuntimeError, UsageError
from lorkit.decompose.methods.baselines.balancers import check_balancer


@pytest.mark.parametrize(
    ("settings", "given"),
    [({"precision": "fp16"}, "train.precision fp16"), ({"devices": 2, "num_nodes": 2}, "4 processes")],
)
def test_what_stands_between_losses_and_gradients_is_refused(settings: dict[str, object], given: str) -> None:
    with pytest.raises(UsageError, match=f"gradient balancer 'pcgrad' with {given}"):
        check_balancer("pcgrad", TrainConfig.model_validate(settings))
    check_balancer("sum", TrainConfig.model_validate(settings))


@pytest.mark.parametrize(("name", "absent"), [("cagrad", {"clarabel", "cvxpy"}), ("nash-mtl", {"ecos"})])
def test_only_the_packages_that_a_balancer_calls_are_missed(
    monkeypatch: pytest.MonkeyPatch, name: str, absent: set[str]
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda package: None if package in absent else package)
    with pytest.raises(MissingRuntimeError, match="not installed") as caught:
        check_balancer(name, TrainConfig())
    assert {package for package in ("torchjd", "cvxpy", "clarabel", "ecos") if f" {package}" in str(caught.value)} == (
        absent
    )
    check_balancer("aligned-mtl", TrainConfig())
