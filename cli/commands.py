"""The commands of the program, including those of groups."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any


def list_commands(command: Any, path: str = "decompose") -> Iterator[tuple[str, Any]]:
    """Yield every command with its words, including those of groups."""
    for name, child in command.commands.items():
        if hasattr(child, "commands"):
            yield from list_commands(child, f"{path} {name}")
        else:
            yield f"{path} {name}", child
