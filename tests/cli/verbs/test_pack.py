"""`decompose pack`: options arrive; paths on stdout, what is left out beside them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from lorkit.decompose.documents.pack import LeftOut, PackDocument

PACKED = PackDocument(
    warnings=[],
    run="one",
    archive=Path("one.tar"),
    sha256="a" * 64,
    size_bytes=2**21,
    file_count=3,
    left_out={"checkpoints": LeftOut(file_count=1, size_bytes=2**20)},
)


def test_options_arrive_and_results_leave(check_verb: Callable[..., Any]) -> None:
    words = ["pack", "one", "--out", "x.tar", "--force"]
    outcome = check_verb(words, PACKED, options={"out": Path("x.tar"), "force": True}, stdout="one.tar\n")
    assert outcome.stderr.splitlines() == ["left out: checkpoints (1.0 MiB)", "one: 3 files, 2.0 MiB"]
