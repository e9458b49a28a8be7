"""Costs that are read from the file of a network, independent of the machine.

Bytes and multiply-accumulates are judged. Nodes, number formats and the planned peak of the activations are reported
only: they explain a difference in latency or memory, but are no reason to refuse a candidate.
"""

from __future__ import annotations

from typing import Literal

from lorkit.decompose.documents.gate_costs import Cost, Deterministic, Dtypes
from lorkit.export.onnx.graph_costs import graph_costs
from lorkit.export.runtime.exported import Exported, ExportPair
from lorkit.export.targets.base import MODEL

_RELEVANT = 1.005
"""Growth above which an unjudged cost is mentioned."""


def judge_costs(pair: ExportPair, margin: float) -> tuple[Deterministic, list[str]]:
    """Compare the costs of two files. A cost that cannot be counted is not judged.

    Bytes and MACs may grow by the fraction `margin`.

    Returns:
        The gate's `deterministic` block, and a sentence on each number that decided or grew.
    """
    one, two = pair.baseline, pair.candidate
    decided = [
        _decide(one.info.size_bytes, two.info.size_bytes, "bytes", margin),  # readers hold them against the files
        _decide(one.macs, two.macs, "MACs", margin),
    ]
    costs = [graph_costs(side.path / MODEL) for side in (pair.baseline, pair.candidate)]
    stated = [
        _state(costs[0].nodes, costs[1].nodes, "nodes"),
        _state(costs[0].peak_activation_bytes, costs[1].peak_activation_bytes, "bytes of activations at the peak"),
    ]
    block = Deterministic(
        verdict="fail" if any(cost.verdict == "fail" for cost, _ in decided) else "pass",
        margin=margin,
        costs={
            "bytes": decided[0][0],
            "macs": decided[1][0],
            "nodes": stated[0][0],
            "peak_activation_bytes": stated[1][0],
        },
        weight_bytes=Dtypes(baseline=costs[0].dtypes, candidate=costs[1].dtypes, verdict="stated"),
    )
    return block, [text for _, texts in (*decided, *stated) for text in texts]


def undecided_costs(candidate: Exported, margin: float) -> Deterministic:
    """Return the block of a candidate without a baseline."""
    return Deterministic(
        verdict="inconclusive",
        margin=margin,
        costs={
            "bytes": _cost(None, candidate.info.size_bytes, "not_judged"),
            "macs": _cost(None, candidate.macs, "not_judged"),
        },
    )


def _decide(one: int | None, two: int | None, unit: str, margin: float) -> tuple[Cost, list[str]]:
    cost = _cost(one, two, "not_judged")
    if cost.ratio is None:
        return cost, []
    failed = cost.ratio > 1.0 + margin
    text = (
        f"The candidate has {two:,} {unit} against {one:,}, a ratio of "
        f"{cost.ratio:.3f}: {'more than' if failed else 'within'} the allowed {1.0 + margin:.3f}."
    )
    return cost.with_changes(verdict="fail" if failed else "pass"), [text]


def _state(one: int | None, two: int | None, unit: str) -> tuple[Cost, list[str]]:
    cost = _cost(one, two, "stated")
    grew = cost.ratio is not None and cost.ratio > _RELEVANT
    return cost, [f"The candidate has {two:,} {unit} against {one:,} (reported, not judged)."] if grew else []


def _cost(one: int | None, two: int | None, verdict: Literal["not_judged", "stated"]) -> Cost:
    if one is None or two is None:
        return Cost(baseline=one, candidate=two, ratio=None, verdict="not_judged")
    return Cost(baseline=one, candidate=two, ratio=two / one if one else None, verdict=verdict)
