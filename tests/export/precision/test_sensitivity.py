"""Layers are ranked by what lowering each alone does; nodes without weights are not asked."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from onnx import helper

from lorkit.export.onnx.precision.lowering import by_sensitivity


def test_worst_first_and_layers_only() -> None:
    kinds = {"a": "Conv", "b": "Relu", "c": "Gemm", "d": "MatMul", "e": "ConvTranspose"}
    nodes = [helper.make_node(kind, ["x"], [name], name=name) for name, kind in kinds.items()]
    errors = {"a": 0.1, "c": 3.0, "d": float("inf"), "e": 0.2}

    def alone(name: str) -> Any:
        return SimpleNamespace(max_abs=errors[name])

    steps: list[tuple[int, int]] = []
    graph = helper.make_model(helper.make_graph(nodes, "g", [], []))
    ranked = by_sensitivity(graph, alone, lambda done, total: steps.append((done, total)))
    assert steps == [(done, 4) for done in range(5)]
    assert ranked == [("d", float("inf")), ("c", 3.0), ("e", 0.2), ("a", 0.1)]
