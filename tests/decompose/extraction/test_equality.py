"""An extracted network answers as the trained model, and holds nothing of other regions."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import numpy as np
import pytest
from torch import nn

from lorkit.decompose.data.prepared import PreparedRegion
from lorkit.decompose.documents.network import Decision
from lorkit.decompose.errors import ParityError
from lorkit.decompose.extraction import equality as proof
from lorkit.decompose.regions import Region
from lorkit.decompose.runs import Run
from lorkit.decompose.runs.live_model import load_model


def test_what_all_regions_started_from_is_no_regions_own(make_run: Callable[..., Run], tmp_path: Path) -> None:
    """A network with a frozen part, as LoRA leaves it, shares that part with the foundation and with its siblings."""
    live = load_model(make_run(tmp_path / "runs" / "lora", method="lora").path)
    common = live.models["chest"].backbone
    live.models["knee"].backbone.norm.load_state_dict(common.norm.state_dict())
    network, names = live.deployable("knee"), ("chest", "knee")
    assert "network.norm.running_mean" in proof.foreign_tensors(live, network, "knee", names)
    assert not proof.foreign_tensors(live, network, "knee", names, common)
    network.register_buffer("cache", live.models["chest"].heads["chest"].weight.detach().clone())
    assert proof.foreign_tensors(live, network, "knee", names, common) == ["cache"]
    # published weights that did not move are those of the region's own student as well
    assert proof.foreign_tensors(live, network, "knee", names, same_start=True) == ["cache"]


@pytest.mark.parametrize(
    ("task", "classes", "decision", "flips"),
    [
        ("node", ("honest", "fraud"), Decision(policy="f1", thresholds={"fraud": 0.1}, temperature=2.0), 1),
        ("node", ("honest", "fraud"), None, 0),
        ("multilabel", ("mass", "node"), Decision(policy="f1", thresholds={"mass": None, "node": 0.1}), 1),
        ("multilabel", ("mass", "node"), None, 0),
    ],
)
def test_labels_differ_by_the_thresholds_of_the_network(
    monkeypatch: pytest.MonkeyPatch, task: str, classes: tuple[str, ...], decision: Decision | None, flips: int
) -> None:
    cut = np.log(0.1 / 0.9) * (2.0 if task == "node" else 1.0)  # of the second logit, the first one is 0
    wanted = np.array([[0, cut - 1e-4], [0, cut - 1], [0, cut + 1]], np.float32)
    monkeypatch.setattr(proof, "predict_logits", lambda *_: wanted)
    region = Region(name="a", task=task, classes=classes)
    prepared = cast(PreparedRegion, SimpleNamespace(region=region))
    found = wanted + np.array([0, 2e-4], np.float32)
    live = nn.Identity()
    assert proof.check_equality(live, live, prepared, found, decision).label_flips == flips  # type: ignore[arg-type]


@pytest.mark.parametrize("difference", [0.002, np.nan])
def test_other_outputs_and_such_as_are_no_numbers_are_refused(
    monkeypatch: pytest.MonkeyPatch, difference: float
) -> None:
    wanted = np.eye(2, dtype=np.float32)
    monkeypatch.setattr(proof, "predict_logits", lambda *_: wanted)
    prepared = cast(PreparedRegion, SimpleNamespace(region=Region(name="chest", classes=("a", "b"), synthetic=True)))
    live = nn.Identity()
    assert proof.check_equality(live, live, prepared, wanted.copy(), None).max_abs_difference == 0  # type: ignore[arg-type]
    with pytest.raises(ParityError, match="differs from the trained model"):
        proof.check_equality(live, live, prepared, wanted + np.float32(difference), None)  # type: ignore[arg-type]
