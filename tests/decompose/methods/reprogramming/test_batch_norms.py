from __future__ import annotations

import copy
from typing import get_args

import pytest
import torch
from torch import Tensor, nn

from lorkit.decompose.config.methods import InjectedNorms
from lorkit.decompose.methods.reprogramming.batch_norms import InjectedPassNorms


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(2, 3, 1), nn.BatchNorm2d(3), nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3, affine=False))


def state(model: nn.Module) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in model.named_buffers()}


@pytest.mark.parametrize("policy", get_args(InjectedNorms))
def test_what_a_foreign_pass_computes_and_leaves_behind(policy: InjectedNorms) -> None:
    model = network()
    x, foreign = torch.randn(4, 2, 3, 3), 5 + 3 * torch.randn(4, 2, 3, 3)
    model(x)
    twin = copy.deepcopy(model)
    passes, before = InjectedPassNorms(model, policy), state(model)
    with passes.scope():
        found = model(foreign)
    after = state(model)
    torch.testing.assert_close(found, twin.eval()(foreign) if policy == "eval" else twin.train()(foreign))
    same = all(torch.equal(after[name], value) for name, value in before.items())
    assert same == (policy != "shared")
    assert all(module.training for module in model.modules())
    own = dict(passes.named_buffers())
    assert bool(own) == (policy == "separate")
    if policy == "separate":
        torch.testing.assert_close(own["0_running_mean"], twin[1].running_mean)
        assert int(own["0_num_batches_tracked"]) == 2
    model(x)
    assert not torch.equal(model[1].running_mean, before["1.running_mean"]), "own passes track again"


def test_an_error_inside_restores_and_norms_in_eval_stay_so() -> None:
    model = network().eval()
    for policy in ("no_update", "separate", "eval"):
        passes, before = InjectedPassNorms(model, policy), state(model)

        def broken(passes: InjectedPassNorms = passes) -> None:
            with passes.scope():
                model(torch.randn(2, 2, 3, 3))
                raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            broken()
        assert all(torch.equal(value, before[name]) for name, value in state(model).items())
        assert not any(module.training for module in model.modules())
        assert all(norm.track_running_stats for norm in (model[1], model[3]))
