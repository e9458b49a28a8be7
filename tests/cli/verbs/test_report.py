"""`report` prints what it wrote."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from lorkit.decompose.documents.report import ReportFiles


def test_options_arrive_and_results_leave(check_verb: Callable[..., Any]) -> None:
    words = ["report", "--against", "other"]
    check_verb(
        words,
        ReportFiles(files=[Path("r.html")], up_to_date=False),
        options={"against": "other", "force": False},
        stdout="r.html\n",
    )
