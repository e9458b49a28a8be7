"""Documents as small HTML tables, for notebooks. Everything that is shown is escaped."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from lorkit.decompose.errors import plural

_ROWS, _COLUMNS, _LONGEST = 20, 8, 60
_HEAD = ("schema_version", "warnings")


def table(caption: str, columns: Sequence[str], rows: Sequence[Sequence[object]], *, notes: Sequence[str] = ()) -> str:
    """Return an HTML table.

    Args:
        caption: Its first line.
        columns: Names of the columns.
        rows: One value per column each; at most 20 rows are shown, and the number of the others is stated.
        notes: Lines below it.
    """
    from html import escape  # its table of entities is not what a command needs that prints no HTML

    head = "".join(f"<th>{escape(name)}</th>" for name in columns)
    body = "".join(f"<tr>{''.join(f'<td>{escape(cell(value))}</td>' for value in row)}</tr>" for row in rows[:_ROWS])
    more = [f"and {plural(len(rows) - _ROWS, 'more row')}"] if len(rows) > _ROWS else []
    below = "".join(f"<div>{escape(note)}</div>" for note in (*more, *notes))
    return (
        f"<table><caption>{escape(caption)}</caption><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>{below}"
    )


def document_table(document: Mapping[str, Any]) -> str:
    """Return the plain data of a document as HTML: its single values as a caption, then a table of each list of parts.

    A table has at most 8 columns, those with the values of a part first, then those of the parts of it as `part.key`.
    """
    single = {name: value for name, value in document.items() if _is_single(value) and name not in _HEAD}
    caption = ", ".join(f"{name} {cell(value)}" for name, value in single.items() if value is not None)
    notes = [f"warning: {text}" for text in document.get("warnings", ())]
    several = {name: parts for name, value in document.items() if (parts := _parts(value))}
    if not several:
        return table(caption, (), (), notes=notes)
    found: list[tuple[str, list[str], list[list[object]]]] = []
    for name, parts in several.items():
        columns, rows = _columns(parts)
        found.append((f"{caption}: {name}" if not found else name, columns, rows))
    return "".join(table(*one, notes=notes if one is found[-1] else ()) for one in found)


def cell(value: object) -> str:
    """Return a value as the text of a cell: numbers with four digits, nothing for null, long text shortened."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    text = f"{value:.4g}" if isinstance(value, float) else str(value)
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 3]}..."


def _is_single(value: object) -> bool:
    return value is None or isinstance(value, str | int | float)


def _parts(value: object) -> dict[str, Mapping[str, Any]]:
    """Return the parts of a mapping or list of parts, by name; none for another value."""
    if isinstance(value, Mapping) and value and all(isinstance(one, Mapping) for one in value.values()):
        return dict(value)
    if isinstance(value, list) and value and all(isinstance(one, Mapping) for one in value):
        return {str(index): one for index, one in enumerate(value)}
    return {}


def _columns(parts: Mapping[str, Mapping[str, Any]]) -> tuple[list[str], list[list[object]]]:
    flat = {name: _flat(part) for name, part in parts.items()}
    names = list(dict.fromkeys(key for row in flat.values() for key, value in row.items() if value is not None))
    names = sorted(names, key=lambda key: "." in key)[:_COLUMNS]
    return ["", *names], [[name, *(row.get(key) for key in names)] for name, row in flat.items()]


def _flat(part: Mapping[str, Any]) -> dict[str, object]:
    """Return the single values of a part, and those of the parts in it as `part.key`."""
    found = {name: value for name, value in part.items() if _is_single(value)}
    for name, inner in part.items():
        if isinstance(inner, Mapping):
            found |= {f"{name}.{key}": value for key, value in inner.items() if _is_single(value)}
    return found
