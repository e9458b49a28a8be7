"""Which layers a lower precision hurts: each is lowered alone, and what that does to the outputs is measured."""

from __future__ import annotations

from collections.abc import Callable

import onnx

from lorkit.export.parity import Parity

LAYERS = ("Conv", "ConvTranspose", "Gemm", "MatMul")


def by_sensitivity(
    model: onnx.ModelProto, alone: Callable[[str], Parity], on_step: Callable[[int, int], None]
) -> list[tuple[str, float]]:
    """Return the layers of a graph with the largest error of a logit when that layer alone is lowered, worst first.

    Args:
        model: The float32 graph.
        alone: Tries the graph with one layer lowered, by the name of its node.
        on_step: Told how many layers were tried, and of how many.
    """
    names = [node.name for node in model.graph.node if node.op_type in LAYERS]
    errors = []
    for done, name in enumerate(names):
        on_step(done, len(names))
        errors.append((name, alone(name).max_abs))
    on_step(len(names), len(names))
    return sorted(errors, key=lambda found: -found[1])
