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


@pytest.mark.parametrize("difference", [0.002, np.nan])
def test_other_outputs_and_such_as_are_no_numbers_are_refused(
    monkeypatch: pytest.MonkeyPatch, difference: float
) -> None:
    wanted = np.eye(2, dtype=np.float32)
    monkeypatch.setattr(proof, "predict_logits", lambda *_: wanted)
    prepared = cast(PreparedRegion, SimpleNamespace(region=Region(name="chest", classes=("a", "b"), synthetic=True)))
    live = nn.Identity()
    assert proof.check_equality(live, live, prepared, wanted.copy()).max_abs_difference == 0  # type: ignore[arg-type]
    with pytest.raises(ParityError, match="differs from the trained model"):
        proof.check_equality(live, live, prepared, wanted + np.float32(difference))  # type: ignore[arg-type]
