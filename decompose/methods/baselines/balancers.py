"""Packages that gradient balancers need."""

from __future__ import annotations

import importlib.util

from lorkit.decompose.config import TrainConfig
from lorkit.decompose.errors import MissingRuntimeError, UsageError

# packages of each balancer, as in torchjd's extras
_NEEDS = {
    "pcgrad": ("torchjd",),
    "cagrad": ("torchjd", "cvxpy", "clarabel"),
    "aligned-mtl": ("torchjd",),
    "upgrad": ("torchjd", "qpsolvers", "quadprog"),
    "nash-mtl": ("torchjd", "cvxpy", "ecos"),
}


def check_balancer(name: str, settings: TrainConfig) -> None:
    """Check before training that the balancer `name` of `train.balancer` can run.

    Raises:
        UsageError: fp16, whose loss scaling changes gradients, or several processes.
        MissingRuntimeError: torchjd or a solver that it needs is not installed.
    """
    if name == "sum":
        return
    processes = settings.devices * settings.num_nodes
    if settings.precision == "fp16" or processes > 1:
        given = "train.precision fp16" if settings.precision == "fp16" else f"{processes} processes"
        raise UsageError(
            f"gradient balancer '{name}' with {given}",
            required="fp32 or bf16 on one device",
            fix="set train.balancer to sum, or change train.precision or train.devices",
        )
    missing = [package for package in _NEEDS[name] if importlib.util.find_spec(package) is None]
    if missing:
        raise MissingRuntimeError(
            f"gradient balancer '{name}' needs {', '.join(missing)}, which is not installed",
            required="the extra 'balancers'",
            fix='pip install "lorkit[balancers]"',
        )
