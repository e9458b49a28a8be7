"""`report` prints what it wrote."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from lorkit.export.reporting.reporting import ReportResult


def test_options_arrive_and_results_leave(check_verb: Callable[..., Any]) -> None:
    words = ["report", "--against", "other"]
    check_verb(
        words,
        ReportResult(files=[Path("r.html")], up_to_date=False),
        options={"against": "other", "force": False},
        stdout="r.html\n",
    )
