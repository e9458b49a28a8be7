"""Lines of JSON in, lines of JSON out: one for each, in their order."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any

from lorkit.decompose.errors import DataError
from lorkit.export.serving.scores import Score
from lorkit.export.serving.scoring import Scorer
from lorkit.export.serving.transactions import ID, LABEL, Event, text_of

BATCH = 256
"""Rows that are scored at once where the next line does not wait for an answer."""


def answer_lines(scorer: Scorer, lines: Iterable[bytes], *, batch: int = BATCH) -> Iterator[str]:
    """Yield the answer to each line: a score, a recorded label, or an error, after which the stream goes on.

    Rows are scored in batches that end at a label or a line that is wrong. An answer comes when what it says is
    stored; a line without one may be sent again.

    Args:
        scorer: The network with its store.
        lines: UTF-8, one object each.
        batch: Most rows at once; 1 answers each line before the next one is read.
    """
    waiting: list[Event] = []
    for line in lines:
        event = _read(line)
        if not isinstance(event, DataError) and not scorer.is_label(event):
            waiting.append(event)
            if len(waiting) < batch:
                continue
        yield from _scored(scorer, waiting)
        if isinstance(event, DataError):
            yield _line(None, error=str(event))
        elif scorer.is_label(event):
            yield _labelled(scorer, event)
        waiting = []
    yield from _scored(scorer, waiting)


def _read(line: bytes) -> Event | DataError:
    fault: object
    try:
        found = json.loads(line.decode("utf-8"))
        fault = f"a {type(found).__name__}"
    except RecursionError:
        found, fault = None, "nested too deeply"
    except ValueError as error:  # of JSON, of its encoding and of its numbers
        found, fault = None, error
    if isinstance(found, dict):
        return found
    return DataError(
        f"a line that is no JSON object ({fault})",
        required='one object per line, such as {"id": 1, ...}',
        fix="correct the line",
    )


def _scored(scorer: Scorer, events: list[Event]) -> Iterator[str]:
    if not events:
        return
    for event, found in zip(events, scorer.score(events), strict=True):
        if isinstance(found, Score):
            yield f'{{"{ID}": {json.dumps(event[ID])}, {found.to_json()[1:]}'
        else:
            yield _line(_echo(event), error=str(found))


def _labelled(scorer: Scorer, event: Event) -> str:
    try:
        scorer.label(event.get(ID), event[LABEL])
    except DataError as error:
        return _line(_echo(event), error=str(error))
    return _line(event[ID], label=event[LABEL], recorded=True)


def _echo(event: Event) -> object:
    """Return the id of an object as it was given, None if it is none."""
    return None if text_of(event.get(ID)) is None else event[ID]


def _line(name: Any, **content: object) -> str:
    return json.dumps({ID: name, **content}, ensure_ascii=True)
