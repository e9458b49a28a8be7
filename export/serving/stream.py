"""Lines of JSON in, lines of JSON out: one for each, in their order."""

from __future__ import annotations

import codecs
import json
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from typing import Any, TypeAlias

from lorkit.decompose.errors import DataError
from lorkit.export.serving.lines import LONGEST
from lorkit.export.serving.scores import Score
from lorkit.export.serving.scoring import Scorer
from lorkit.export.serving.transactions import ID, LABEL, Event, text_of

_Read: TypeAlias = tuple[int, Event | DataError]
"""The number of a line from 1, and what it holds."""
BATCH = 256
"""Most rows that are scored at once."""


def answer_lines(scorer: Scorer, lines: Iterable[bytes | None], *, batch: int = BATCH) -> Iterator[str]:
    """Yield the answer to each line: a score, a recorded label, or an error, after which the stream goes on.

    Rows that come one after another are scored as a batch. An answer comes when what it says is stored; a line without
    one may be sent again.

    Args:
        scorer: The network with its store.
        lines: UTF-8, one object each, the first one perhaps after a byte order mark; None asks for the answers to all
            lines before it.
        batch: Most lines that wait for an answer.
    """
    waiting: list[_Read] = []
    number = 0
    for line in lines:
        if line is not None:
            number += 1
            first = number == 1
            waiting.append((number, _read(line.removeprefix(codecs.BOM_UTF8) if first else line)))
        if line is None or len(waiting) >= batch:
            yield from _answered(scorer, waiting)
            waiting = []
    yield from _answered(scorer, waiting)


def _answered(scorer: Scorer, lines: Sequence[_Read]) -> Iterator[str]:
    """Yield the answers to lines: rows and wrong lines until the next label at once."""
    for labels, some in groupby(lines, lambda one: not isinstance(one[1], DataError) and scorer.is_label(one[1])):
        if labels:
            yield from (_labelled(scorer, *one) for one in some)
        else:
            yield from _scored(scorer, list(some))


def _read(line: bytes) -> Event | DataError:
    if len(line) > LONGEST:
        return DataError(f"a line of more than {LONGEST} bytes", required="a shorter one", fix="leave columns out")
    fault: object
    try:
        found = json.loads(line.decode("utf-8"))
        fault = f"a {type(found).__name__}"
    except RecursionError:
        found, fault = None, "nested too deeply"
    except Exception as error:  # boundary: of JSON, of its encoding and of its numbers
        found, fault = None, error
    if isinstance(found, dict):
        return found
    return DataError(
        f"a line that is no JSON object ({fault})",
        required='one object per line, such as {"id": 1, ...}',
        fix="correct the line",
    )


def _scored(scorer: Scorer, lines: Sequence[_Read]) -> Iterator[str]:
    rows = [event for _, event in lines if not isinstance(event, DataError)]
    scores = iter(scorer.score(rows) if rows else [])
    for number, event in lines:
        if isinstance(event, DataError):
            yield _error(number, None, event)
            continue
        found = next(scores)
        if isinstance(found, Score):
            yield f'{{"{ID}": {json.dumps(event[ID])}, {found.to_json()[1:]}'
        else:
            yield _error(number, event, found)


def _labelled(scorer: Scorer, number: int, event: Any) -> str:
    try:
        scorer.label(event.get(ID), event[LABEL])
    except DataError as error:
        return _error(number, event, error)
    return json.dumps({ID: event[ID], LABEL: event[LABEL], "recorded": True})


def _error(number: int, event: Event | None, error: DataError) -> str:
    """Return the answer to a line that is wrong, with the id as it was given, null if it is none."""
    name = None if event is None or text_of(event.get(ID)) is None else event[ID]
    return json.dumps({ID: name, "line": number, "error": str(error)})
