"""`decompose help`: the help of a command, and man pages of all."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from lorkit.decompose.errors import UsageError, unknown


def help(
    context: typer.Context,
    verb: Annotated[
        list[str] | None, typer.Argument(metavar="VERB", help="A command, such as train. Default: the list of all.")
    ] = None,
    man: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Write a man page of each command into this directory.")
    ] = None,
) -> None:
    """Show the help of a command, or write man pages.

    `man -l DIR/decompose.1` shows a page; in a directory man1 of the MANPATH, `man decompose-train` finds it.
    """
    from lorkit.cli.output.streams import print_result

    root = context.find_root()
    if man is None:
        print_result(_help_of(root, verb or []))
        return
    if verb:
        raise UsageError(f"--man with {' '.join(verb)}", required="one of them", fix="leave one out")
    from lorkit.cli.manual import man_pages
    from lorkit.decompose.artifacts import write_text

    man.mkdir(parents=True, exist_ok=True)
    for name, text in man_pages(root.command).items():
        write_text(man / name, text)
    print_result(str(man / "decompose.1"))


def _help_of(root: Any, words: list[str]) -> str:
    command, context = root.command, root
    for word in words:
        known: dict[str, Any] = getattr(command, "commands", {})
        if word not in known:
            raise unknown("command", word, known, fix="see `decompose help`")
        command = known[word]
        context = command.make_context(word, [], parent=context, resilient_parsing=True)
    return str(command.get_help(context)).rstrip()
