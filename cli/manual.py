"""Man pages of all commands, from the command line itself: `decompose help --man DIR` writes them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from lorkit import __version__
from lorkit.cli.commands import list_commands

_EXIT_CODES = (
    ("0", "done, or up to date"),
    ("1", "FAIL of the gate"),
    ("2", "wrong option, configuration, region, target, profile or run"),
    ("3", "INCONCLUSIVE of the gate"),
    ("4", "bad data or artifact, failed parity or self-test"),
    ("5", "a runtime or hardware is missing"),
    ("6", "the disk is full, read-only or failing"),
    ("70", "a bug in lorkit"),
    ("130", "interrupted"),
)


def man_pages(root: Any) -> dict[str, str]:
    """Return the pages in roff by name of file: `decompose.1`, and `decompose-VERB.1` for each command.

    Args:
        root: The program.
    """
    commands = dict(list_commands(root))
    pages = {_file(path): _page(path, command, "decompose(1)") for path, command in commands.items()}
    names = ", ".join(f"{_name(path)}(1)" for path in commands)
    return {"decompose.1": _page("decompose", root, names, _commands(commands)), **pages}


def _page(path: str, command: Any, see: str, extra: str = "") -> str:
    context = command.make_context(path, [], resilient_parsing=True)
    paragraphs = [" ".join(part.split()) for part in (command.help or "").split("\n\n")]
    first, rest = paragraphs[0], paragraphs[1:] or paragraphs
    records = filter(None, (parameter.get_help_record(context) for parameter in command.params))
    lines = [
        f'.TH "{_text(_name(path)).upper()}" "1" "" "lorkit {_text(__version__)}" "lorkit"',
        ".SH NAME",
        f"{_text(_name(path))} \\- {_text(first.rstrip('.'))}",
        ".SH SYNOPSIS",
        f".B {_text(path)}",
        _line(" ".join(command.collect_usage_pieces(context))),
        ".SH DESCRIPTION",
        "\n.PP\n".join(map(_line, rest)),
        ".SH OPTIONS",
        *_entries(records),
        *_entries([("-h, --help", "Show this message and exit.")]),
        *([extra] if extra else []),
        ".SH EXIT STATUS",
        *_entries(_EXIT_CODES),
        ".SH SEE ALSO",
        _line(see),
    ]
    return "\n".join(lines) + "\n"


def _commands(commands: dict[str, Any]) -> str:
    rows = [(path.removeprefix("decompose "), " ".join((one.help or "").split("\n\n")[0].split()))
            for path, one in commands.items()]  # fmt: skip
    return "\n".join([".SH COMMANDS", *_entries(rows)])


def _entries(rows: Any) -> Iterator[str]:
    for name, meaning in rows:
        yield f".TP\n.B {_text(name)}\n{_line(' '.join(meaning.split()))}"


def _name(path: str) -> str:
    return path.replace(" ", "-")


def _file(path: str) -> str:
    return f"{_name(path)}.1"


def _line(text: str) -> str:
    """Escape a line of text; one that begins with a dot or an apostrophe would be a command of roff."""
    escaped = _text(text)
    return f"\\&{escaped}" if escaped[:1] in (".", "'") else escaped


def _text(text: str) -> str:
    return text.replace("\\", "\\e").replace("-", "\\-")
