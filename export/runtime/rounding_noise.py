"""Rounding noise: by how much the outputs of a network change where nothing but rounding does.

In fp32 an engine and its source add the same terms in another order. How much that matters depends on the network, so
it is measured: each value of the inputs moves to one of its two neighbours, by half of what fp32 resolves, which rounds
everything behind it anew. A weight that differs does not show in this, since both runs have it.

Shapes: N images.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from lorkit.decompose.artifacts.arrays import Float32Array
from lorkit.export.runtime.parity import infer_all

if TYPE_CHECKING:
    from lorkit.export.targets.base import Inputs, Outputs

# The largest of so many outputs is stable to a few tens of percent; a map has them in one image.
_OUTPUTS = 64
_FEWEST, _MOST = 2, 32


def pair_noise(
    engine: Callable[[Inputs], Outputs],
    source: Callable[[Inputs], Outputs] | None,
    inputs: Inputs,
    reference: Outputs,
    *,
    batch: int,
) -> dict[str, float]:
    """Return by output the rounding noise of an engine plus that of its source.

    Args:
        engine: Inputs by name to outputs by name.
        source: The same of the network that it was made from; None if that is missing: its noise is taken for the same.
        inputs: (N, ...) by name; few are used if each has many outputs.
        reference: (N, ...) outputs of the source, which is not run on the same images again.
        batch: Images at a time.
    """
    count = rows_to_move(reference)
    own = rounding_noise(engine, inputs, count, batch)
    other = own if source is None else rounding_noise(source, inputs, count, batch, known=reference)
    return {name: own[name] + other[name] for name in reference if name in own and name in other}


def rows_to_move(reference: Outputs) -> int:
    """Return how many images are moved so that each output has enough values, 2 to 32."""
    fewest = min(values[:1].size for values in reference.values())
    return min(_MOST, max(_FEWEST, -(-_OUTPUTS // max(1, fewest))))


def rounding_noise(
    infer: Callable[[Inputs], Outputs],
    inputs: Inputs,
    count: int,
    batch: int,
    *,
    known: Outputs | None = None,
    seed: int = 0,
) -> dict[str, float]:
    """Return by output the largest change of `count` images, each moved by the resolution of fp32.

    `known` has the outputs for all inputs, if they were computed before.
    """
    rows = np.arange(count) % len(next(iter(inputs.values())))
    plain = {name: values[rows] for name, values in inputs.items()}
    generator = np.random.default_rng(seed)
    moved = {name: _moved(one, generator) if one.dtype == np.float32 else one for name, one in plain.items()}
    before = infer_all(infer, plain, batch) if known is None else {name: one[rows] for name, one in known.items()}
    after = infer_all(infer, moved, batch)
    return {name: float(np.abs(after[name] - before[name]).max(initial=0.0)) for name in before if name in after}


def _moved(values: Float32Array, generator: np.random.Generator) -> Float32Array:
    """Return values at one of their neighbours in fp32; zeros stay, since some of them mean that nothing is there."""
    away = np.where(generator.random(values.shape) < 0.5, np.float32(-np.inf), np.float32(np.inf))
    moved: Float32Array = np.where(values == 0, values, np.nextafter(values, away))
    return moved
