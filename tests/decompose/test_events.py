from __future__ import annotations

from lorkit.decompose.events import Event, Notice, Working, named, with_progress


def test_items_are_told_before_each_and_after_the_last() -> None:
    heard: list[Event] = []
    seen = []
    for item in with_progress("ab", "read", heard.append):
        seen.append((item, len(heard)))
    assert seen == [("a", 1), ("b", 2)]
    assert heard == [Working("read", done, 2) for done in range(3)]


def test_a_name_is_put_before_what_is_being_done_and_nothing_else() -> None:
    heard: list[Event] = []
    tell = named("chest", heard.append)
    tell(Working("int8", 1, 4))
    tell(Notice(text="off"))
    assert heard == [Working("chest, int8", 1, 4), Notice(text="off")]
