"""How the longer verbs tell what they are doing, without knowing who listens."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

OnProgress: TypeAlias = Callable[[str, int, int], None]
"""Called with a short text, the number of steps done, and their total."""


def ignore(text: str, done: int, total: int) -> None:
    """Tell nobody."""
