"""Methods of decomposition, found by looking into this package: one file a method, or a family of them."""

from __future__ import annotations

import importlib
import pkgutil
from functools import cache

from lorkit.decompose.errors import unknown
from lorkit.decompose.methods.base import Adapting, Fitting, Method, TrainingModule, needs_foundation

__all__ = ["Adapting", "Fitting", "Method", "TrainingModule", "get_method", "methods", "needs_foundation"]


@cache
def methods() -> dict[str, Method]:
    """Return every method by name."""
    modules = [importlib.import_module(f"{__name__}.{found.name}") for found in pkgutil.iter_modules(__path__)]
    found = [module.METHOD for module in modules if hasattr(module, "METHOD")]
    found += [method for module in modules for method in getattr(module, "METHODS", ())]
    return {method.name: method for method in found}


def get_method(name: str) -> Method:
    """Return a method by name.

    Raises:
        UsageError: There is no such method; the known ones are listed.
    """
    if name not in methods():
        raise unknown("method", name, methods())
    return methods()[name]
