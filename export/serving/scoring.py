"""Score rows as they arrive, and count them and their labels for the rows to come. No transport is known here.

Shapes: N rows, C classes, R relations, F features, P places.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

import numpy as np

from lorkit.decompose.artifacts.arrays import Float32Array
from lorkit.decompose.config.graphs import NodeInput
from lorkit.decompose.data.graphs.labels import plain_label
from lorkit.decompose.data.graphs.scaling import FeatureScaling
from lorkit.decompose.documents.network import Decision
from lorkit.decompose.documents.recipe import Recipe
from lorkit.decompose.errors import DataError, UsageError
from lorkit.decompose.events import Listener, Notice, ignore
from lorkit.export.runtime.engine import load_engine
from lorkit.export.serving.arrivals import arrive
from lorkit.export.serving.counters import CounterStore, Layout, Ledger, Row, damaged
from lorkit.export.serving.inputs import inputs_of, with_count
from lorkit.export.serving.scores import Score, decide
from lorkit.export.serving.stores import open_store
from lorkit.export.serving.transactions import Event, Transaction, is_label, read_id, read_transaction, text_of

Run = Callable[[Float32Array], Float32Array]
"""Inputs to logits (N, C)."""


@dataclass(slots=True)
class _Batch:
    """Rows that can be used, and why the others cannot.

    Attributes:
        rows: N of them, in order.
        values_NF: Their scaled features.
        answers: Of each object: the place of its row in `rows`, or its error.
    """

    rows: list[Transaction]
    values_NF: Float32Array
    answers: list[int | DataError]


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
    def open(cls, directory: Path, store: Path | str, *, threads: int | None = 1, on_event: Listener = ignore) -> Self:
        """Open an export and a store, as `open_store` does.

        Raises:
            UsageError: The network cannot be streamed, or the address of the store is none.
            ArtifactError: The export or the store is damaged, or the store was made for another network.
            MissingRuntimeError: The runtime of the export, or the client of the store, is missing.
            StorageError: The store cannot be reached or written.
        """
        engine = load_engine(directory, threads=threads)
        exported = engine.exported
        nodes = streamed_input(exported.recipe, str(directory))
        opened = open_store(store, Layout.of(nodes, exported.classes))
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
        batch = self._read(transactions)
        scores, counted = self.store.transact(lambda ledger: self._score(ledger, batch))
        self._watch_time(counted)
        return [one if isinstance(one, DataError) else scores[one] for one in batch.answers]

    def label(self, name: object, label: object) -> None:
        """Record the class of an earlier row; one that is told again corrects it.

        Raises:
            DataError: No row has this id, or no class this name.
            BusyError: As in `score`, as are the others.
        """
        text = read_id({"id": name})
        places = {plain_label(one): index for index, one in enumerate(self.classes)}
        group = places.get(plain_label(text_of(label) or ""))
        if group is None:
            raise DataError(
                f"label {label!r} of '{text}'", required=f"one of {', '.join(self.classes)}", fix="correct it"
            )
        self.store.transact(lambda ledger: self._label(ledger, text, group))

    def _read(self, events: Sequence[Event]) -> _Batch:
        """Return the rows with their scaled features."""
        rows: list[Transaction] = []
        answers: list[int | DataError] = []
        for event in events:
            try:
                rows.append(read_transaction(event, self.nodes.relations, self.nodes.features, self.nodes.times))
                answers.append(len(rows) - 1)
            except DataError as error:
                answers.append(error)
        try:
            return _Batch(rows, self._scaled(rows), answers)
        except DataError:  # some become infinite; find them one by one
            return self._read_scaled(rows, answers)

    def _read_scaled(self, rows: Sequence[Transaction], answers: Sequence[int | DataError]) -> _Batch:
        """Return those of the rows that can be scaled."""
        kept: list[Transaction] = []
        found: list[int | DataError] = []
        for answer in answers:
            if not isinstance(answer, DataError):
                try:
                    self._scaled([rows[answer]])
                    kept.append(rows[answer])
                    answer = len(kept) - 1
                except DataError as error:
                    answer = error
            found.append(answer)
        return _Batch(kept, self._scaled(kept), found)

    def _scaled(self, rows: Sequence[Transaction]) -> Float32Array:
        """Return the scaled features (N, F), from the precision in which a graph holds them."""
        values_NF = np.array([row.features for row in rows], dtype=np.float64).astype(np.float32)
        return self._scaling.apply(values_NF.reshape(-1, len(self.nodes.features)))

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

    def _score(self, ledger: Ledger, batch: _Batch) -> tuple[list[Score | DataError], list[Transaction]]:
        """Return the answers to the rows, and the rows that were counted."""
        first: dict[str, int] = {}
        for at, row in enumerate(batch.rows):
            first.setdefault(row.id, at)
        known = ledger.rows(list(first))
        fresh = [at for name, at in first.items() if name not in known]
        counted = [batch.rows[at] for at in fresh]
        scored = self._count(ledger, counted, batch.values_NF[fresh]) if fresh else {}
        answers: list[Score | DataError] = []
        for at, row in enumerate(batch.rows):
            if row.id in known:
                answers.append(self._stored(row, batch.values_NF[at], known[row.id]))
            elif first[row.id] == at or _same(batch, at, first[row.id]):
                answers.append(scored[row.id])
            else:
                answers.append(_another(row))
        return answers, counted

    def _count(self, ledger: Ledger, rows: Sequence[Transaction], values_NF: Float32Array) -> dict[str, Score]:
        """Score rows that are new, and write them and the sums of their keys."""
        before, places, sums = arrive(ledger, [row.keys for row in rows], values_NF)
        scores = decide(self._run(inputs_of(self.nodes, values_NF, before)), self.classes, self._decision)
        ledger.write_counters(places, sums)
        found = {row.id: score for row, score in zip(rows, scores, strict=True)}
        ledger.write_rows(
            {
                row.id: Row(keys=row.keys, values_F=values_F, time=row.time, score=score.to_json())
                for row, values_F, score in zip(rows, values_NF, scores, strict=True)
            }
        )
        return found

    def _stored(self, row: Transaction, values_F: Float32Array, stored: Row) -> Score | DataError:
        """Return the score of a row that was counted before, unless its id is that of another row."""
        if stored.keys != row.keys or not np.array_equal(stored.values_F, values_F):
            return _another(row)
        if stored.score is None:
            return DataError(
                f"'{row.id}' is a row of the data that the store was filled with, which has no score",
                required="a new row",
                fix="leave it out",
            )
        try:
            return Score.from_json(stored.score)
        except ValueError:
            raise damaged("the store", f"its answer to '{row.id}' cannot be read") from None

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
        ledger.write_counters(places, sums)
        ledger.write_rows({name: replace(row, label=group)})


def _same(batch: _Batch, one: int, other: int) -> bool:
    keys = batch.rows[one].keys == batch.rows[other].keys
    return keys and np.array_equal(batch.values_NF[one], batch.values_NF[other])


def _another(row: Transaction) -> DataError:
    return DataError(
        f"another row than the earlier one with the id '{row.id}'",
        required="an id for each row",
        fix="give it an id of its own",
    )
