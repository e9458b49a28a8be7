"""Propagated features of a graph: A_hat^k X with A_hat = D_in^-1/2 (A + I) D_out^-1/2.

Source: Kipf and Welling, "Semi-supervised classification with graph convolutional networks", ICLR 2017. A layer of a
graph network on A_hat^k X is a dense layer, so a node has the same score in any batch. Shapes: N nodes, M nodes asked
for, F features.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from scipy.sparse import csr_array

from lorkit.decompose.artifacts.arrays import Floats, Ints
from lorkit.decompose.data.graphs.blocks import row_blocks
from lorkit.decompose.events import Listener, ignore, with_progress

ENTRY_BYTES = 40
"""An index and a float64 of each edge of a block, twice while they are copied."""


def propagations(
    neighbours: csr_array, features_NF: Floats, hops: int, nodes_M: Ints, *, text: str = "", on_event: Listener = ignore
) -> Iterator[Floats]:
    """Yield the rows (M, F) of A_hat^k X for k = 1 to `hops`; a node without neighbours keeps its features.

    Args:
        neighbours: (N, N) binary without self-loops, row v the nodes with an edge to v; it need not be symmetric.
        features_NF: (N, F) features.
        hops: Number of products.
        nodes_M: (M,) rows to return.
        text: The work, for progress.
        on_event: Told progress.
    """
    inward_N = (1 + np.diff(neighbours.indptr)) ** -0.5
    outward_N = (1 + np.bincount(neighbours.indices, minlength=neighbours.shape[0])) ** -0.5
    every_N = np.arange(neighbours.shape[0])
    values_NF = features_NF
    for hop in range(1, hops + 1):
        rows = nodes_M if hop == hops else every_N
        scaled_NF = values_NF * outward_N[:, None]
        product = np.empty((len(rows), features_NF.shape[1]))
        blocks = row_blocks(np.diff(neighbours.indptr)[rows], features_NF.shape[1], ENTRY_BYTES)
        for block in with_progress(blocks, text, on_event):
            product[block] = neighbours[rows[block]] @ scaled_NF + scaled_NF[rows[block]]
        product *= inward_N[rows, None]
        yield product if hop == hops else product[nodes_M]
        values_NF = product
