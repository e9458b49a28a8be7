"""Which charts a page has."""

from __future__ import annotations

from typing import Any

from lorkit.export.reporting.pages.drawings import draw_training


def row(epoch: int, mean: float, alike: float) -> Any:
    gates = {
        "mean_gates": {},
        "right_by_region": {},
        "similarity": {"a": {"a": 1.0, "b": alike}, "b": {"a": alike, "b": 1.0}},
    }
    val = {"accuracy": {"a": mean, "b": mean}, "mean": mean}
    return {"phase": "mola-router", "epoch": epoch, "loss": {"ce": {"a": 1.0}}, "val": val, "gates": gates}


def test_the_gates_of_the_kept_epoch_are_drawn() -> None:
    rows = [row(0, 0.5, 0.11), row(1, 0.9, 0.22), row(2, 0.9, 0.33)]
    drawn = draw_training(rows, {"a": 0, "b": 1})["mola-router"]
    assert "0.22" in drawn["gates of the router, epoch 2"]


def test_a_run_without_router_has_no_gates() -> None:
    rows = [row(0, 0.5, 0.11)]
    del rows[0]["gates"]
    assert not [title for title in draw_training(rows, {"a": 0, "b": 1})["mola-router"] if "gates" in title]


def test_a_phase_that_was_not_validated_has_its_losses_alone() -> None:
    def of(phase: str, region: str) -> Any:
        found = {"accuracy": {region: 0.5}, "mean": 0.5}
        return {"phase": phase, "epoch": 0, "loss": {"ce": {region: 1.0}}, "val": found}

    before: Any = {"phase": "predistil", "epoch": 0, "loss": {"hint": {"a": 0.75, "b": 0.5}}, "val": {}}
    drawn = draw_training([before, of("rd-a", "a"), of("rd-b", "b")], {"a": 0, "b": 1})
    assert {phase: list(charts) for phase, charts in drawn.items()} == {
        "predistil": ["loss: hint"],
        "all regions": ["validation: accuracy", "loss: cross-entropy"],
    }
