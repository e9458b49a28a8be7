"""Nothing of other regions is in an extracted network."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from lorkit.decompose.extraction import equality as proof
from lorkit.decompose.extraction.extraction import extract
from lorkit.decompose.runs import Run, open_run
from lorkit.decompose.runs.expert import LoadedExpert, load_expert
from lorkit.decompose.runs.live_model import load_model


@pytest.fixture(scope="module")
def chest(made_run: Path, tmp_path_factory: pytest.TempPathFactory) -> LoadedExpert:
    """The chest expert beside its run; tests only read it."""
    run = open_run(shutil.copytree(made_run / "runs", tmp_path_factory.mktemp("home") / "runs") / "small")
    return load_expert(extract(run, region="chest")[0].path)


def test_what_all_regions_started_from_is_no_regions_own(make_run: Callable[..., Run], tmp_path: Path) -> None:
    """A network with a frozen part, as LoRA leaves it, shares that part with the foundation and with its siblings."""
    live = load_model(make_run(tmp_path / "runs" / "lora", method="lora").path)
    common = live.models["chest"].backbone
    live.models["knee"].backbone.conv1[1].load_state_dict(common.conv1[1].state_dict())
    network, names = live.deployable("knee"), ("chest", "knee")
    assert "network.conv1.1.running_mean" in proof.foreign_tensors(live, network, "knee", names)
    assert not proof.foreign_tensors(live, network, "knee", names, common)
    network.register_buffer("cache", live.models["chest"].heads["chest"].weight.detach().clone())
    assert proof.foreign_tensors(live, network, "knee", names, common) == ["cache"]
