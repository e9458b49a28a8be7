"""Score rows as they arrive, and count them and their labels for the rows to come. No transport is known here.

Shapes: N rows, C classes, R relations, F features, P places.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self, TypeAlias

import numpy as np
from scipy.special import softmax

from lorkit.decompose.artifacts.arrays import Float32Array, Floats
from lorkit.decompose.config.graphs import NodeInput
from lorkit.decompose.data.graphs.scaling import FeatureScaling
from lorkit.decompose.documents.network import Decision
from lorkit.decompose.documents.recipe import Recipe
from lorkit.decompose.errors import DataError, UsageError
from lorkit.decompose.events import Listener, Notice, ignore
from lorkit.decompose.metrics import node
from lorkit.export.runtime.engine import load_engine
from lorkit.export.serving.counters import CounterStore, Layout, Ledger, Place, Row
from lorkit.export.serving.inputs import inputs_of, with_count
from lorkit.export.serving.sqlite import SqliteStore
from lorkit.export.serving.transactions import Event, Transaction, is_label, read_id, read_transaction, text_of

Run = Callable[[Float32Array], Float32Array]
"""Inputs to logits (N, C)."""
_Scaled: TypeAlias = tuple[Transaction, Float32Array]
"""A row with its scaled features (F,)."""


@dataclass(frozen=True)
class Score:
    """The answer for a row.

    Attributes:
        score: Calibrated probability of the second of two classes minus that of the first; of more classes, the
            largest probability minus the next.
        probabilities: Calibrated probability by class.
        answer: The class, by the threshold of the network.
    """

    score: float
    probabilities: dict[str, float]
    answer: str


def streamed_input(recipe: Recipe, where: str) -> NodeInput:
    """Return the input of a network that can score a stream; raise UsageError for any other."""
    if recipe.nodes is None or not recipe.nodes.keys:
        kind = "images" if recipe.nodes is None else "a graph of edges"
        raise UsageError(
            f"{where} takes {kind}, which cannot be streamed",
            required="a network of rows that are related by shared keys",
            fix="train on a table, and state its columns of entities as `relations`",
        )
    return recipe.nodes


class Scorer:
    """A network with the counters that its inputs come from.

    Args:
        nodes: Its input.
        classes: Its classes.
        decision: How its logits become answers; None takes the most probable class.
        run: The network.
        store: Counters for this input.
        on_event: Told once if time runs backwards.
    """

    def __init__(
        self,
        nodes: NodeInput,
        classes: Sequence[str],
        decision: Decision | None,
        run: Run,
        store: CounterStore,
        on_event: Listener = ignore,
    ) -> None:
        self.nodes, self.classes, self.store = nodes, tuple(classes), store
        self._decision = decision or Decision(policy="most probable", thresholds={})
        self._run, self._on_event = run, on_event
        self._scaling = FeatureScaling.of(nodes)
        self._last, self._told = store.last_time(), False

    @classmethod
    def open(cls, directory: Path, store: Path, *, threads: int | None = 1, on_event: Listener = ignore) -> Self:
        """Open an export and a SQLite store, which is created if there is none.

        Raises:
            UsageError: The network cannot be streamed.
            ArtifactError: The export or the store is damaged, or the store was made for another network.
            MissingRuntimeError: The runtime of the export is missing.
        """
        engine = load_engine(directory, threads=threads)
        exported = engine.exported
        nodes = streamed_input(exported.recipe, str(directory))
        opened = SqliteStore(store, Layout.of(nodes, exported.classes))
        return cls(nodes, exported.classes, exported.info.decision, engine.run, opened, on_event)

    def is_label(self, event: Event) -> bool:
        """Return whether an object tells the label of an earlier row."""
        return is_label(event, self.nodes.relations, self.nodes.features)

    def score(self, transactions: Sequence[Event]) -> list[Score | DataError]:
        """Score rows in their order; each sees those before it, also of the same call.

        All are counted and their scores stored in one transaction of the store. A row whose id was scored before gets
        the stored score and is not counted again.

        Returns:
            The score of each row, or why it has none.

        Raises:
            BusyError: Another process held the store for too long; no row is counted.
            StorageError: The store cannot be written; no row is counted.
            ArtifactError: The store is damaged.
        """
        rows = self._read(transactions)
        scores, counted = self.store.transact(lambda ledger: self._score(ledger, rows))
        self._watch_time(counted)
        return scores

    def label(self, name: object, label: object) -> None:
        """Record the class of an earlier row; one that is told again corrects it.

        Raises:
            DataError: No row has this id, or no class this name.
            BusyError: As in `score`, as are the others.
        """
        text = read_id({"id": name})
        group = {one: index for index, one in enumerate(self.classes)}.get(text_of(label) or "")
        if group is None:
            raise DataError(
                f"label {label!r} of '{text}'", required=f"one of {', '.join(self.classes)}", fix="correct it"
            )
        self.store.transact(lambda ledger: self._label(ledger, text, group))

    def _read(self, events: Sequence[Event]) -> list[_Scaled | DataError]:
        """Return each row with its scaled features, or why it cannot be used."""
        read = [_row_or_fault(event, self.nodes) for event in events]
        rows = [one for one in read if not isinstance(one, DataError)]
        if not rows:
            return [one for one in read if isinstance(one, DataError)]
        try:
            scaled = iter(self._scaling.apply(np.stack([row.features_F for row in rows])))
        except DataError:  # some become infinite; find them one by one
            return [one if isinstance(one, DataError) else self._scaled(one) for one in read]
        return [one if isinstance(one, DataError) else (one, next(scaled)) for one in read]

    def _scaled(self, row: Transaction) -> _Scaled | DataError:
        try:
            return row, self._scaling.apply(row.features_F[None])[0]
        except DataError as error:
            return error

    def _watch_time(self, rows: Sequence[Transaction]) -> None:
        """Tell once that a row came before an earlier one in time."""
        for row in rows:
            if row.time is None:
                continue
            if self._last is not None and row.time < self._last and not self._told:
                self._told = True
                text = f"time runs backwards at '{row.id}' ({row.time:g} after {self._last:g})"
                self._on_event(Notice(text=f"{text}; rows are taken in the order in which they arrive"))
            self._last = row.time

    def _score(
        self, ledger: Ledger, rows: Sequence[_Scaled | DataError]
    ) -> tuple[list[Score | DataError], list[Transaction]]:
        """Return the answers, and the rows that were counted."""
        first: dict[str, _Scaled] = {}
        for one in rows:
            if not isinstance(one, DataError):
                first.setdefault(one[0].id, one)
        known = ledger.rows(list(first))
        fresh = [one for name, one in first.items() if name not in known]
        counted = [one for one, _ in fresh]
        scored = self._count(ledger, counted, np.stack([values for _, values in fresh])) if fresh else {}
        return [one if isinstance(one, DataError) else _answer(one, known, scored, first) for one in rows], counted

    def _count(self, ledger: Ledger, rows: Sequence[Transaction], values_NF: Float32Array) -> dict[str, Score]:
        """Score rows that are new, and write them and the sums of their keys."""
        before, sums = arrive(ledger, [row.keys for row in rows], values_NF)
        scores = self._scores(self._run(inputs_of(self.nodes, values_NF, before)))
        written = {
            row.id: Row(keys=row.keys, values_F=values, time=row.time, score=json.dumps(vars(score)))
            for row, values, score in zip(rows, values_NF, scores, strict=True)
        }
        ledger.write(sums, written)
        return {row.id: score for row, score in zip(rows, scores, strict=True)}

    def _scores(self, logits: Float32Array) -> list[Score]:
        """Return the answers from logits (N, C)."""
        temperature = self._decision.temperature or 1.0
        answers_N = node.answers(logits, self._decision.positive_from(self.classes), temperature)
        probability_NC = softmax(np.asarray(logits, dtype=np.float64) / temperature, axis=1)
        ordered_NC = probability_NC if len(self.classes) == 2 else np.sort(probability_NC, axis=1)
        margin_N = ordered_NC[:, -1] - ordered_NC[:, -2]
        return [
            Score(margin, dict(zip(self.classes, shares, strict=True)), self.classes[answer])
            for margin, shares, answer in zip(
                margin_N.tolist(), probability_NC.tolist(), answers_N.tolist(), strict=True
            )
        ]

    def _label(self, ledger: Ledger, name: str, group: int) -> None:
        row = ledger.rows([name]).get(name)
        if row is None:
            raise DataError(f"a label of '{name}'", required="the id of an earlier row", fix="send the row first")
        if row.label == group:
            return
        places = [(index, key) for index, key in enumerate(row.keys) if key is not None]
        sums = ledger.counters(places)
        own = with_count(row.values_F[None])[0]
        sums[:, row.label] -= own  # the last group is that of rows without a label, whose label is -1
        sums[:, group] += own
        sums[sums[:, :, -1] == 0] = 0  # the sum of an empty group may be left with rounding
        ledger.write(dict(zip(places, sums, strict=True)), {name: replace(row, label=group)})


def arrive(
    ledger: Ledger, keys: Sequence[tuple[str | None, ...]], values_NF: Float32Array
) -> tuple[Floats, Mapping[Place, Floats]]:
    """Count rows one after the other.

    Returns:
        (N, R, C+1, F+1) sums of the keys of each row before it, and the sums (C+1, F+1) of all their keys after all.
    """
    places = list(dict.fromkeys((at, key) for row in keys for at, key in enumerate(row) if key is not None))
    slots = {place: slot for slot, place in enumerate(places)}
    sums = ledger.counters(places)
    before = np.zeros((len(keys), len(keys[0]), *sums.shape[1:]))
    for index, (row, own) in enumerate(zip(keys, with_count(values_NF), strict=True)):
        for relation, key in enumerate(row):
            if key is not None:
                counted = sums[slots[relation, key]]
                before[index, relation] = counted
                counted[-1] += own
    return before, dict(zip(places, sums, strict=True))


def _row_or_fault(event: Event, nodes: NodeInput) -> Transaction | DataError:
    try:
        return read_transaction(event, nodes.relations, nodes.features)
    except DataError as error:
        return error


def _answer(
    given: _Scaled, known: Mapping[str, Row], scored: Mapping[str, Score], first: Mapping[str, _Scaled]
) -> Score | DataError:
    """Return the score of a row that is new or stored, unless its id is that of another row."""
    row, values_F = given
    stored = known.get(row.id)
    keys, values = (stored.keys, stored.values_F) if stored else (first[row.id][0].keys, first[row.id][1])
    if keys != row.keys or not (values is values_F or np.array_equal(values, values_F)):
        return DataError(
            f"another row than the earlier one with the id '{row.id}'",
            required="an id for each row",
            fix="give it an id of its own",
        )
    if stored is None:
        return scored[row.id]
    if stored.score is None:
        return DataError(
            f"'{row.id}' is a row of the data that the store was filled with, which has no score",
            required="a new row",
            fix="leave it out",
        )
    return Score(**json.loads(stored.score))
