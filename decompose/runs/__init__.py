"""Run directories: finding and opening them, their networks, their data, their experts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lorkit.decompose.lazy import imported_on_use

if TYPE_CHECKING:
    from lorkit.decompose.runs.listing import RUNS, list_runs
    from lorkit.decompose.runs.selection import ExportSelection
    from lorkit.decompose.runs.store import (
        MODELS,
        OUTSIDE,
        OWNERS,
        Run,
        experts_of,
        export_directory,
        exports_of,
        open_run,
    )

__all__ = [
    "MODELS",
    "OUTSIDE",
    "OWNERS",
    "RUNS",
    "ExportSelection",
    "Run",
    "experts_of",
    "export_directory",
    "exports_of",
    "list_runs",
    "open_run",
]
_HOMES = {name: "store" for name in __all__}
_HOMES |= {"RUNS": "listing", "list_runs": "listing", "ExportSelection": "selection"}
__getattr__ = imported_on_use(__name__, _HOMES)
