"""Count rows that arrive one after the other, all at once: each sees those before it in the same batch.

Shapes: N rows, C classes, R relations, F features, P places, M rows that have a key.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from lorkit.decompose.artifacts.arrays import Float32Array, Floats
from lorkit.export.serving.counters import Ledger, Place
from lorkit.export.serving.inputs import with_count


def arrive(
    ledger: Ledger, keys: Sequence[tuple[str | None, ...]], values_NF: Float32Array
) -> tuple[Floats, list[Place], Floats]:
    """Count rows one after the other; nothing is written.

    The sums are those of one addition after the other, to the last bit: in the k-th step the k-th row of every place is
    added, so a batch takes as many steps as its most frequent key has rows.

    Returns:
        (N, R, C+1, F+1) sums of the keys of each row before it; the places, and their sums (P, C+1, F+1) after all.
    """
    relations = len(keys[0])
    slots: dict[Place, int] = {}
    slot_of, row_of, turn_of = [], [], []  # of each key of each row, in the order of arrival
    turns: list[int] = []  # rows so far, by slot
    for row, names in enumerate(keys):
        for relation, name in enumerate(names):
            if name is None:
                continue
            slot = slots.setdefault((relation, name), len(turns))
            if slot == len(turns):
                turns.append(0)
            slot_of.append(slot)
            row_of.append(row * relations + relation)
            turn_of.append(turns[slot])
            turns[slot] += 1
    places = list(slots)
    sums = ledger.counters(places)
    slot_M, at_M, turn_M = (np.array(some, dtype=np.intp) for some in (slot_of, row_of, turn_of))
    before = np.zeros((len(keys) * relations, *sums.shape[1:]))
    before[at_M] = sums[slot_M]
    own = with_count(values_NF)
    order_M = np.argsort(turn_M, kind="stable")
    for some in np.split(order_M, np.cumsum(np.bincount(turn_M))[:-1]) if len(order_M) else ():
        at = at_M[some]
        before[at, -1] = sums[slot_M[some], -1]
        sums[slot_M[some], -1] += own[at // relations]
    return before.reshape(len(keys), relations, *sums.shape[1:]), places, sums
