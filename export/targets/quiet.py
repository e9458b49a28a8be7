"""Suppress messages of libraries about themselves, such as deprecations."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def quiet(logger: str | None = None, level: int = logging.ERROR) -> Iterator[None]:
    """Ignore warnings, and what a logger (by default the root) logs below a level; errors pass."""
    source = logging.getLogger(logger)
    before = source.level
    source.setLevel(level)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        source.setLevel(before)
