"""Truncated SVD of updates against numpy's, for each layer kind and layout."""

from __future__ import annotations

from itertools import pairwise
from typing import Any, cast

import numpy as np
import pytest
import torch
from torch import nn

from lorkit.decompose.config import ExpertConfig
from lorkit.decompose.errors import UsageError
from lorkit.decompose.experts import (
    DepthwiseExperts,
    LowRankExperts,
    add_experts_,
    expert_layers,
    extract,
)
from lorkit.decompose.experts.truncation import LayerCut, reduce_, total, truncate


def network() -> nn.Module:
    """One layer of each kind, one of them depthwise."""
    return nn.Sequential(
        nn.Conv2d(3, 12, 3, padding=1),
        nn.Conv2d(12, 12, 3, padding=1, groups=12),
        nn.ConvTranspose2d(12, 10, 2, stride=2),
        nn.Conv2d(10, 8, 1),
        nn.Flatten(),
        nn.Linear(8 * 64, 7),
    )


def live(layout: str, **settings: Any) -> nn.Module:
    """A network with experts of rank 6 whose updates are not zero."""
    torch.manual_seed(0)
    model = network()
    config = ExpertConfig(rank=6, layout=cast(Any, layout), depthwise=True, **settings)
    add_experts_(model, ["chest", "knee"], config)
    for key, value in model.named_parameters():
        if ".up." in key or ".kernel." in key:
            nn.init.normal_(value, std=0.1)
    return model


def matrix(layer: LowRankExperts, layout: str) -> tuple[np.ndarray[Any, Any], int]:
    """The update as the product of the layout's factors, from the factors themselves."""
    down, up = (factor["chest"].detach().double().numpy() for factor in (layer.down, layer.up))
    scale = layer.config.scale_of("chest")
    if layout == "reshape":
        return scale * up @ down, down.shape[0] // layer.config.rank_of("chest")
    if isinstance(layer.base, nn.ConvTranspose2d):
        return scale * down.T @ up.reshape(len(up), -1), 1
    return scale * up @ down.reshape(len(down), -1), 1


@pytest.mark.parametrize("layout", ["conv", "reshape"])
@pytest.mark.parametrize("rank", [1, 2, 5])
def test_each_layer_gets_the_nearest_update_of_its_rank(layout: str, rank: int) -> None:
    model = live(layout)
    plain = extract(model, "chest")
    untouched = extract(model, "chest").state_dict()
    cuts = {cut.layer: cut for cut in reduce_(plain, model, "chest", rank)}
    assert len(cuts) == 4
    for name, layer in expert_layers(model).items():
        weight = cast(torch.Tensor, plain.get_submodule(name).weight)
        if isinstance(layer, DepthwiseExperts):
            assert torch.equal(weight, untouched[f"{name}.weight"])
            continue
        update, unit = matrix(cast(LowRankExperts, layer), layout)
        left, values, right = np.linalg.svd(update, full_matrices=False)
        count = rank * unit
        nearest = (left[:, :count] * values[:count]) @ right[:count]
        expected = layer.base.weight.detach().double().numpy() + nearest.reshape(layer.base.weight.shape)
        np.testing.assert_allclose(weight.detach().numpy(), expected, atol=2e-7)
        share = (values[:count] ** 2).sum() / (values**2).sum()
        assert cuts[name].share == pytest.approx(share, rel=1e-6)


@pytest.mark.parametrize("layout", ["conv", "reshape"])
def test_factors_are_counted_as_their_layout_keeps_them(layout: str) -> None:
    model = live(layout)
    cuts = reduce_(extract(model, "chest"), model, "chest", 2)
    layers = cast(dict[str, LowRankExperts], expert_layers(model))
    for cut in cuts:
        layer = layers[cut.layer]
        assert cut.parameters == layer.down["chest"].numel() + layer.up["chest"].numel()
        assert (cut.rank, cut.kept_rank) == (6, 2)
    torch.manual_seed(0)
    small = network()
    add_experts_(small, ["chest"], ExpertConfig(rank=2, layout=cast(Any, layout), depthwise=True))
    of_two = sum(
        layer.down["chest"].numel() + layer.up["chest"].numel()
        for layer in expert_layers(small).values()
        if isinstance(layer, LowRankExperts)
    )
    assert total(cuts).kept_parameters == of_two


@pytest.mark.parametrize("layout", ["conv", "reshape"])
def test_a_rank_that_is_there_already_changes_no_bit(layout: str) -> None:
    model = live(layout)
    plain, before = extract(model, "chest"), extract(model, "chest").state_dict()
    cuts = reduce_(plain, model, "chest", 6)
    assert all(torch.equal(value, before[key]) for key, value in plain.state_dict().items())
    assert total(cuts).share == 1.0
    assert total(cuts).kept_parameters == total(cuts).parameters


def test_more_rank_keeps_more_and_the_live_model_is_not_touched() -> None:
    model = live("conv", ranks={"knee": 3})
    before = {key: value.clone() for key, value in model.state_dict().items()}
    shares = [total(reduce_(extract(model, "chest"), model, "chest", rank)).share for rank in (1, 2, 4, 6)]
    assert all(one is not None and other is not None and one < other for one, other in pairwise(shares))
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    assert total(reduce_(extract(model, "knee"), model, "knee", 2)).rank == 3


def test_an_update_of_zeros_has_no_share() -> None:
    model = network()
    add_experts_(model, ["chest"], ExpertConfig(rank=6))
    cuts = reduce_(extract(model, "chest"), model, "chest", 2)
    assert total(cuts).share is None


def test_bad_ranks_and_truncation() -> None:
    model = live("conv")
    with pytest.raises(UsageError, match="at least 1"):
        reduce_(extract(model, "chest"), model, "chest", 0)
    found, values = truncate(torch.diag(torch.tensor([3.0, 2.0, 1.0])), 2)
    assert torch.allclose(found, torch.diag(torch.tensor([3.0, 2.0, 0.0])).double())
    assert values.tolist() == pytest.approx([3, 2, 1])
    assert LayerCut(
        layer="x", rank=2, kept_rank=1, parameters=2, kept_parameters=1, energy=4.0, kept_energy=1.0
    ).share == pytest.approx(0.25)
