"""Nothing of other regions is in an extracted network."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from lorkit.decompose.extraction import equality as proof
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
