from __future__ import annotations

from lorkit.decompose.events import Event, Working, with_progress


def test_items_are_told_before_each_and_after_the_last() -> None:
    heard: list[Event] = []
    seen = []
    for item in with_progress("ab", "read", heard.append):
        seen.append((item, len(heard)))
    assert seen == [("a", 1), ("b", 2)]
    assert heard == [Working(text="read", done=done, total=2) for done in range(3)]
