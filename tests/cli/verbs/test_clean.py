"""`decompose clean`: options arrive; entries on stdout, what to do beside them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lorkit.decompose.documents.clean import CleanDocument, Unneeded


def found(*states: str) -> CleanDocument:
    entries = [Unneeded(path=Path("a"), kind="checkpoints", size_bytes=2**20, state=state) for state in states]  # type: ignore[arg-type]
    return CleanDocument(warnings=[], entries=entries, size_bytes=len(states) * 2**20)


@pytest.mark.parametrize(
    ("states", "said"),
    [
        (("listed", "in use"), "1 of 2 can be removed, 2.0 MiB: `decompose clean --yes`"),
        (("removed",), "1 removed, 1.0 MiB"),
        ((), "nothing to remove"),
    ],
)
def test_options_arrive_and_results_leave(check_verb: Callable[..., Any], states: tuple[str, ...], said: str) -> None:
    options = {"yes": True, "interrupted": True}
    outcome = check_verb(
        ["clean", "--out", "r", "--yes", "--interrupted"], found(*states), options=options, stdout=None
    )
    assert len(outcome.stdout.splitlines()) == len(states)
    assert ("(in use)" in outcome.stdout) == ("in use" in states)
    assert outcome.stderr.strip() == said
