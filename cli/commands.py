"""The commands of the program, including those of groups, and what all of them refuse."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import takewhile
from typing import Any

from typer.core import TyperCommand


class Command(TyperCommand):
    """A command that refuses an option given twice, of which the parser would take the last without a word."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse the words after the command.

        Raises:
            UsageError: An option that takes one value is there twice.
        """
        self._require_once(args)
        return super().parse_args(ctx, args)

    def _require_once(self, args: Sequence[str]) -> None:
        given = [word.partition("=")[0] for word in takewhile(lambda word: word != "--", args)]
        for option in self.params:
            if getattr(option, "multiple", True) or getattr(option, "is_flag", False):
                continue
            count = sum(given.count(name) for name in option.opts)
            if count > 1:
                from lorkit.decompose.errors import UsageError

                several = "; several regions are separated by commas" if "--region" in option.opts else ""
                raise UsageError(
                    f"{option.opts[0]} is given {count} times", required=f"one value{several}", fix="give it once"
                )


def list_commands(command: Any, path: str = "decompose") -> Iterator[tuple[str, Any]]:
    """Yield every command with its words, including those of groups."""
    for name, child in command.commands.items():
        if hasattr(child, "commands"):
            yield from list_commands(child, f"{path} {name}")
        else:
            yield f"{path} {name}", child
