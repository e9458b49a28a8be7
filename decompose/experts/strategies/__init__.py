"""Ways to compute an expert layer, found by looking into this package: one file a strategy."""

from __future__ import annotations

import importlib
import pkgutil
from functools import cache

from lorkit.decompose.errors import unknown
from lorkit.decompose.experts.strategies.base import Strategy, Work

__all__ = ["Strategy", "Work", "get_strategy", "strategies"]


@cache
def strategies() -> dict[str, Strategy]:
    """Return every strategy by name."""
    modules = [importlib.import_module(f"{__name__}.{found.name}") for found in pkgutil.iter_modules(__path__)]
    found = [module.STRATEGY for module in modules if hasattr(module, "STRATEGY")]
    return {strategy.name: strategy for strategy in found}


def get_strategy(name: str) -> Strategy:
    """Return a strategy by name.

    Raises:
        UsageError: There is no such strategy; the known ones are listed.
    """
    if name not in strategies():
        raise unknown("strategy", name, ("auto", *strategies()))
    return strategies()[name]
