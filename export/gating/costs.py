"""Costs that can be read from the file of a network. They are counted, so they do not depend on the machine.

Bytes and multiply-accumulates decide. Nodes, number formats and the planned peak of the activations are stated beside
them: they explain a difference in latency or memory, and one of them alone is no reason to refuse a candidate.
"""

from __future__ import annotations

from typing import Any

from lorkit.export.onnx.graph_costs import graph_costs
from lorkit.export.runtime.exported import ExportPair
from lorkit.export.targets.base import MODEL

DECIDING = (("bytes", "size_bytes", "bytes"), ("macs", "macs", "MACs"))
STATED = (("nodes", "nodes"), ("peak_activation_bytes", "bytes of activations at the peak"))
_RELEVANT = 1.005
"""A stated number is mentioned where it grows by more."""


def judge_costs(pair: ExportPair, margin: float) -> tuple[dict[str, Any], list[str]]:
    """Compare what two files cost. A cost that an export does not state is not judged.

    Args:
        pair: Baseline and candidate.
        margin: Allowed growth of bytes and MACs, a fraction.

    Returns:
        The gate's `deterministic` block, and a sentence on each number that decided or grew.
    """
    block: dict[str, Any] = {"verdict": "pass", "margin": margin}
    reasons = []
    sides = (pair.baseline, pair.candidate)
    for name, field, unit in DECIDING:
        block[name] = _row([getattr(one.info, field) for one in sides], "not_judged")
        ratio = block[name]["ratio"]
        if ratio is None:
            continue
        failed = ratio > 1.0 + margin
        block[name]["verdict"] = "fail" if failed else "pass"
        block["verdict"] = "fail" if failed else block["verdict"]
        reasons.append(
            f"The candidate has {block[name]['candidate']:,} {unit} against {block[name]['baseline']:,}, a ratio of "
            f"{ratio:.3f}: {'more than' if failed else 'within'} the allowed {1.0 + margin:.3f}."
        )
    found = [graph_costs(one.path / MODEL) for one in sides]
    for name, unit in STATED:
        block[name] = _row([one.get(name) for one in found], "stated")
        ratio = block[name]["ratio"]
        if ratio is not None and ratio > _RELEVANT:
            reasons.append(
                f"The candidate has {block[name]['candidate']:,} {unit} against {block[name]['baseline']:,} "
                "(stated, not judged)."
            )
    block["dtypes"] = {"baseline": found[0].get("dtypes"), "candidate": found[1].get("dtypes"), "verdict": "stated"}
    return block, reasons


def _row(values: list[Any], verdict: str) -> dict[str, Any]:
    if values[0] is None or values[1] is None:
        return {"baseline": values[0], "candidate": values[1], "ratio": None, "verdict": "not_judged"}
    ratio = float(values[1]) / float(values[0]) if values[0] else None
    return {"baseline": int(values[0]), "candidate": int(values[1]), "ratio": ratio, "verdict": verdict}
