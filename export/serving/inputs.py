"""The inputs of rows from the sums of their keys: what `decompose.data.graphs.tokens` computes from a whole graph.

Shapes: N rows, C classes, R relations, K hops, F features.
"""

from __future__ import annotations

import numpy as np

from lorkit.decompose.artifacts.arrays import Float32Array, Floats
from lorkit.decompose.config.graphs import NodeInput
from lorkit.decompose.data.graphs.groups import mean_and_size


def inputs_of(nodes: NodeInput, values_NF: Float32Array, before: Floats) -> Float32Array:
    """Return the inputs (N, C+2, R, K+1, F+1) of rows that arrive.

    A network that was trained with times sees only what came before a row. One without times sees the row itself in
    group C too, as in a graph of the rows so far.

    Args:
        nodes: The input of the network.
        values_NF: (N, F) scaled features of the rows.
        before: (N, R, C+1, F+1) sums and sizes of their keys before each arrives, zeros without a key.
    """
    classes, width = nodes.class_count, len(nodes.features)
    own = with_count(values_NF)[:, None]
    groups = before.swapaxes(1, 2).copy()
    if not nodes.timed:
        groups[:, classes] += own
    members = before.sum(2) + own
    found = np.zeros((len(values_NF), *nodes.shape), dtype=np.float32)
    found[:, classes, :, 0, :width] = values_NF[:, None]
    found[:, :-1, :, 1:] = _means(groups)[..., None, :]
    found[:, -1, :, 1:] = _means(members, others=True)[..., None, :]
    if not nodes.group_sizes:
        found[..., width] = 0
    return found


def with_count(values_NF: Float32Array) -> Floats:
    """Return (N, F+1): what each row adds to the sums of its keys."""
    return np.column_stack([values_NF.astype(np.float64), np.ones(len(values_NF))])


def _means(sums: Floats, *, others: bool = False) -> Floats:
    """Return mean and log size of (..., F+1) sums and counts; the size without the row itself if `others`."""
    flat = sums.reshape(-1, sums.shape[-1])
    counts = flat[:, -1].astype(np.int64)
    return mean_and_size(flat[:, :-1], counts, counts - others).reshape(sums.shape)
