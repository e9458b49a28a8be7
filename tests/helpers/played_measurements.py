"""Verdicts in the place of the measurements by which `export` chooses among precisions and targets."""

from __future__ import annotations

from typing import Any

import pytest
from sample_documents import accuracy, flip, latency

from lorkit.export.building import choice as choosing


def play_measurements(monkeypatch: pytest.MonkeyPatch, asked: list[tuple[str, str, int, int]]) -> dict[str, Any]:
    """Let measurements have the verdicts that are returned, which a test may change.

    `asked` gets target, precision, batch size and number of candidates of each latency test.
    """
    verdicts: dict[str, Any] = {"latency": "pass", "accuracy": "pass", "p_within": 0.001}

    def compare(pair: Any, engines: Any, *, margin: float, batch: int, comparisons: int, **_: Any) -> Any:
        assert margin == (0.0 if batch == 1 else choosing.SLOWER)
        asked.append((pair.candidate.info.target, pair.candidate.info.precision, batch, comparisons))
        subjects = (pair.baseline, pair.candidate, pair.baseline)
        assert [engine.exported.path for engine in engines] == [one.path for one in subjects]
        verdict = verdicts.get(f"batch {batch}", verdicts["latency"])
        ratio = 0.2 if pair.candidate.info.target == "openvino" else 0.4
        found = latency(ratio=ratio, ci=[ratio / 2, 2 * ratio], looks=[], verdict=verdict, batch=batch)
        return found, "It takes its time."

    def judge(pair: Any, engines: Any, cases: Any, test: Any) -> Any:
        assert "validation part" in cases.source
        assert len(cases.read(pair.candidate.recipe)) > 0
        return accuracy(
            verdict=verdicts["accuracy"],
            p_within=verdicts["p_within"],
            allowed=test.allowed,
            changed_answers=[flip("a digest")],
        )

    monkeypatch.setattr(choosing, "compare_engines", compare)
    monkeypatch.setattr(choosing, "judge_accuracy", judge)
    monkeypatch.setattr(choosing, "explain_accuracy", lambda block: ["It loses little."])
    return verdicts
