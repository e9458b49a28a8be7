"""Names that a shell completes: runs, regions and profiles, from small files only."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

import typer

RUNS = Path("runs")


def runs(incomplete: str) -> list[str]:
    """Return the finished runs of this directory, newest first."""
    return _beginning(incomplete, (path.name for path in _runs()))


def regions(context: typer.Context, incomplete: str) -> list[str]:
    """Return the regions of the run that the words before name, or of the newest; after a comma the further ones."""
    name = context.params.get("run")
    places = [Path(name), RUNS / name] if isinstance(name, str) else _runs()[:1]
    known = next((found for place in places if (found := _regions_of(place))), [])
    head, comma, last = incomplete.rpartition(",")
    named = head.split(",") if comma else []
    options = [one for one in known if one not in named] + ([] if comma else ["all"] * bool(known))
    return [f"{head}{comma}{one}" for one in _beginning(last, options)]


def profiles(incomplete: str) -> list[str]:
    """Return the built-in profiles."""
    from lorkit.profiles import available

    return _beginning(incomplete, available())


def _runs() -> list[Path]:
    found = [path.parent for path in RUNS.glob("*/manifest.json") if (path.parent / "regions.json").is_file()]
    return sorted(found, key=lambda path: (path / "manifest.json").stat().st_mtime, reverse=True)


def _regions_of(run: Path) -> list[str]:
    try:
        return [str(row["name"]) for row in json.loads((run / "regions.json").read_text(encoding="utf-8"))["regions"]]
    except (OSError, ValueError, KeyError, TypeError):
        return []


def _beginning(start: str, names: Iterable[str]) -> list[str]:
    return [name for name in names if name.startswith(start)]
