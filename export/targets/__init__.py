"""Deployment targets: one module of this package each, found by looking at the package.

A module is a target when it defines `TARGET`. Modules import their runtime when it is used, not when they are
listed, so a missing runtime is something a target tells, not something that breaks.
"""

from __future__ import annotations

import importlib
import pkgutil
from functools import cache

from lorkit.decompose.errors import unknown
from lorkit.export.targets.base import MODEL, Availability, Engine, HardwareBound, Target, missing

__all__ = ["MODEL", "Availability", "Engine", "HardwareBound", "Target", "get_target", "missing", "targets"]


@cache
def targets() -> dict[str, Target]:
    """Return every target by name, sorted."""
    modules = (importlib.import_module(f"{__name__}.{info.name}") for info in pkgutil.iter_modules(__path__))
    found: list[Target] = [module.TARGET for module in modules if hasattr(module, "TARGET")]
    return {target.name: target for target in sorted(found, key=lambda target: target.name)}


def get_target(name: str) -> Target:
    """Return a target by name.

    Raises:
        UsageError: There is none of this name; the message lists those that there are.
    """
    if name not in targets():
        raise unknown("target", name, targets())
    return targets()[name]
