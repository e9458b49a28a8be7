"""Suppress messages of libraries about themselves, such as deprecations."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def quiet(logger: str | None = None, level: int = logging.ERROR) -> Iterator[None]:
    """Suppress warnings, and messages of a logger (by default the root) below a level, but no errors."""
    source = logging.getLogger(logger)
    before = source.level
    source.setLevel(level)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        source.setLevel(before)
