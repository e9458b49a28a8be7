"""Verbs whose functions are replaced: what those do has tests of its own, and tests/test_docs.py runs the real ones."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest

import lorkit.decompose
import lorkit.export
from lorkit.decompose.events import Working


@dataclass
class Recorder:
    """Stands in for a function of the library: keeps the call, reports progress, returns what it was given."""

    result: Any
    args: tuple[Any, ...] = ()
    options: dict[str, Any] = field(default_factory=dict)

    def __call__(self, *args: Any, **options: Any) -> Any:
        self.args, self.options = args, options
        if "on_event" in options:
            options["on_event"](Working("chest", 0, 1))
            options["on_event"](Working("done", 1, 1))
        return self.result


@pytest.fixture
def record(monkeypatch: pytest.MonkeyPatch) -> Callable[[str, Any], Recorder]:
    """Replace the function of a verb: `record("train", result)`."""

    def put(verb: str, result: Any) -> Recorder:
        recorder = Recorder(result)
        home = lorkit.export if verb in lorkit.export.__all__ else lorkit.decompose
        monkeypatch.setattr(home, verb, recorder, raising=False)
        return recorder

    return put


@pytest.fixture
def check_verb(decompose: Callable[..., Any], record: Callable[[str, Any], Recorder]) -> Callable[..., Any]:
    """Call a verb whose function returns `result`: `options` arrive, stdout is `stdout`, `--json` is one document.

    None for `stdout` accepts any, such as a table.
    """

    def check(words: list[str], result: Any, *, options: dict[str, Any], stdout: str | None = "") -> Any:
        recorder = record(words[0], result)
        outcome = decompose(*words)
        assert outcome.code == 0, outcome.stderr
        assert outcome.stdout == stdout or stdout is None
        assert options.items() <= recorder.options.items()
        document = decompose(*words, "--json").document
        assert document["schema_version"] == 1
        assert isinstance(document["kind"], str)
        assert isinstance(document["warnings"], list)
        return outcome

    return check
