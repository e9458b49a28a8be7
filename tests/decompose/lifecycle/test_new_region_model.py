"""The model of one new region: what it starts from, what may move, what is noticed when something else did."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn

from lorkit.decompose.artifacts import load_tensors
from lorkit.decompose.errors import ArtifactError, ParityError
from lorkit.decompose.lifecycle.new_region_model import AddedRegion, merge_region, single_region_model
from lorkit.decompose.models.ownership import owner_of
from lorkit.decompose.models.regional import RegionalModel
from lorkit.decompose.regions import Region
from lorkit.decompose.runs import Run

WRIST = Region(name="wrist", classes=("low", "high"))


def model_of(run: Run) -> tuple[RegionalModel, dict[str, torch.Tensor]]:
    shared = load_tensors(run.path / "model.safetensors")
    section = run.config.regions["chest"]
    config = run.config.model_copy(update={"regions": {**run.config.regions, "wrist": section}})
    return single_region_model(config, shared, WRIST), shared


def test_it_starts_as_the_bare_student_between_norms_like_the_others(small_run: Run) -> None:
    live, shared = model_of(small_run)
    state = live.state_dict()
    assert not [key for key in state if owner_of(key, ("chest", "knee"))]
    assert all(not value.any() for key, value in state.items() if ".up.wrist" in key)
    for key in ("running_mean", "running_var", "weight"):
        name = f"backbone.norm.regions.{{}}.{key}"
        mean = (shared[name.format("chest")] + shared[name.format("knee")]) / 2
        torch.testing.assert_close(state[name.format("wrist")], mean)
    assert state["heads.wrist.weight"].shape[0] == 2


@pytest.mark.parametrize("norm", ["shared", "region"])
def test_frozen_norms_stay_in_eval_mode(make_run: Callable[..., Run], tmp_path: Path, norm: str) -> None:
    run = make_run(tmp_path / "runs" / "norm", **{"lorkd.norm": norm})
    live, _ = model_of(run)
    module = AddedRegion(live, run.config.train, run.config.lorkd, None).train()
    norms = [one for one in live.modules() if isinstance(one, nn.BatchNorm2d)]
    assert norms
    assert {one.training for one in norms} == {norm == "region"}
    trainable = {key for key, value in module.named_parameters() if value.requires_grad}
    assert trainable
    assert all(owner_of(key, ("wrist",)) for key in trainable)
    grouped = [value for group in module.parameter_groups(run.config.train) for value in group["params"]]
    assert {id(value) for value in grouped} == {id(value) for value in module.parameters() if value.requires_grad}


def test_a_shared_tensor_that_moved_is_noticed(small_run: Run) -> None:
    live, shared = model_of(small_run)
    merged = merge_region(shared, live)
    assert {key for key in merged if key not in shared} == {
        key for key in live.state_dict() if owner_of(key, ("wrist",))
    }
    with torch.no_grad():
        live.state_dict()["backbone.stem.base.weight"].add_(1e-6)
    with pytest.raises(ParityError, match=r"stem\.base\.weight"):
        merge_region(shared, live)


def test_tensors_of_another_model_are_refused(small_run: Run) -> None:
    shared = load_tensors(small_run.path / "model.safetensors")
    config = small_run.config.model_copy(
        update={"regions": {**small_run.config.regions, "wrist": small_run.config.regions["chest"]}}
    )
    del shared["backbone.stem.base.weight"]
    with pytest.raises(ArtifactError, match=r"stem\.base\.weight"):
        single_region_model(config, shared, WRIST)
