"""Each key of a store has its own name and its place in the scripts."""

from __future__ import annotations

from lorkit.export.serving import redis_scripts as scripts


def test_keys_are_named_by_their_places() -> None:
    keys = scripts.keys_of(2)
    assert keys[scripts.COUNTERS :] == ["lorkit:counters:0", "lorkit:counters:1"]
    assert keys[scripts.ROWS] == "lorkit:rows"
    assert len(set(keys)) == len(keys)
    for name in ("HEADER", "VERSION", "LOCK", "LAST", "STAGED"):
        assert keys[getattr(scripts, name)] == f"lorkit:{name.lower()}"
