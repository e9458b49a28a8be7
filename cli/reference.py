"""Write docs/cli.md from the command line itself: `python -m lorkit.cli.reference > docs/cli.md`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import typer.main

_HEAD = """\
# Command line

Written by `python -m lorkit.cli.reference`; a test keeps it equal to `decompose --help`.
Exit codes and messages: [errors.md](errors.md). Every command takes `--debug` (tracebacks) and `--help`.
"""


def reference() -> str:
    """Return the reference of all commands as Markdown."""
    from lorkit.cli.main import app

    sections = [_HEAD, *(_section(path, command) for path, command in list_commands(typer.main.get_command(app)))]
    return "\n".join(sections)


def list_commands(command: Any, path: str = "decompose") -> Iterator[tuple[str, Any]]:
    """Yield every command with the words that call it; a group yields its own commands."""
    for name, child in command.commands.items():
        if hasattr(child, "commands"):
            yield from list_commands(child, f"{path} {name}")
        else:
            yield f"{path} {name}", child


def _section(path: str, command: Any) -> str:
    context = command.make_context(path, [], resilient_parsing=True)
    rows = [parameter.get_help_record(context) for parameter in command.params]
    text = " ".join((command.help or "").split())
    lines = [f"## {path}", "", text, "", "| argument or option | meaning |", "|---|---|"]
    lines += [f"| `{_cell(name)}` | {_cell(meaning)} |" for name, meaning in filter(None, rows)]
    return "\n".join(lines) + "\n"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


if __name__ == "__main__":
    print(reference(), end="")
