from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
import torch.nn.utils.prune
from torch import nn

from lorkit.decompose.config import ExpertConfig
from lorkit.decompose.errors import UsageError
from lorkit.decompose.experts import (
    DepthwiseExperts,
    ExpertLayer,
    LowRankExperts,
    RegionNorm,
    Routing,
    add_experts_,
    expert_layers,
    extract,
    factor_parameters,
    fuse_,
)

REGIONS = ["brain", "chest"]


def network() -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(3, 4, 3, bias=False),
        nn.BatchNorm2d(4),
        nn.Conv2d(4, 4, 3, groups=4),
        nn.Flatten(),
        nn.Linear(16, 2),
    )


def test_every_dense_layer_is_wrapped_and_the_rest_is_announced() -> None:
    model = network()
    routing = add_experts_(model, REGIONS, ExpertConfig())
    assert routing.wrapped == ("0", "4")
    assert routing.skipped == (("2", "grouped convolution (depthwise: false)"),)
    assert [type(module) for module in model] == [LowRankExperts, RegionNorm, nn.Conv2d, nn.Flatten, LowRankExperts]
    assert expert_layers(model).keys() == {"0", "4"}
    assert all(layer.routing is routing for layer in expert_layers(model).values())


def test_options_reach_depthwise_layers_and_norms() -> None:
    model = network()
    routing = add_experts_(model, REGIONS, ExpertConfig(depthwise=True, norm="shared"))
    assert routing.skipped == ()
    assert type(model[2]) is DepthwiseExperts
    assert type(model[1]) is nn.BatchNorm2d


def test_select_sees_module_and_name() -> None:
    model = network()
    routing = add_experts_(model, REGIONS, ExpertConfig(), select=lambda module, name: isinstance(module, nn.Linear))
    assert routing.wrapped == ("4",)
    assert ("0", "not selected") in routing.skipped
    routing = add_experts_(other := network(), REGIONS, ExpertConfig(), select=lambda module, name: name == "0")
    assert type(other[0]) is LowRankExperts
    assert routing.wrapped == ("0",)


def test_nothing_to_adapt_is_an_error_that_says_why() -> None:
    with pytest.raises(UsageError, match=r"no layer of Sequential was adapted \(0: not selected"):
        add_experts_(network(), REGIONS, ExpertConfig(), select=lambda module, name: False)
    with pytest.raises(UsageError, match="no layer with weights"):
        add_experts_(nn.Sequential(nn.ReLU()), REGIONS, ExpertConfig())


def test_subclasses_and_computed_weights_are_skipped_with_the_reason() -> None:
    class Standardised(nn.Conv2d):
        pass

    model = nn.Sequential(
        Standardised(3, 3, 1),
        nn.utils.parametrizations.weight_norm(nn.Linear(3, 3)),
        nn.Embedding(3, 3),
        nn.Linear(3, 3),
    )
    routing = add_experts_(model, REGIONS, ExpertConfig())
    assert routing.wrapped == ("3",)
    reasons = dict(routing.skipped)
    assert "class Standardised" in reasons["0"]
    assert "ParametrizedLinear" in reasons["1"]
    assert "class Embedding" in reasons["2"]


def test_a_tied_module_gets_one_wrapper_at_both_places() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first = nn.Linear(3, 3)
            self.second = self.first

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.second(self.first(x))

    model = Twice()
    routing = add_experts_(model, REGIONS, ExpertConfig())
    assert model.first is model.second
    assert routing.wrapped == ("first",)
    plain = extract(model, "brain")
    assert plain.first is plain.second
    assert list(plain.state_dict()) == list(Twice().state_dict())


def test_a_weight_shared_by_two_modules_is_left_alone() -> None:
    model = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3), nn.Linear(3, 3))
    model[1].weight = model[0].weight
    routing = add_experts_(model, REGIONS, ExpertConfig())
    assert routing.wrapped == ("2",)
    assert all("shared with another module" in reason for _, reason in routing.skipped)


@pytest.mark.parametrize("module", [nn.MultiheadAttention(4, 2), nn.TransformerEncoderLayer(4, 2, 8)])
def test_modules_that_bypass_their_children_are_refused_by_name(module: nn.Module) -> None:
    model = nn.Sequential(nn.Linear(4, 4), module)
    with pytest.raises(UsageError, match=f"'1' is a {type(module).__name__}"):
        add_experts_(model, REGIONS, ExpertConfig())
    routing = add_experts_(model, REGIONS, ExpertConfig(), select=lambda _, name: name == "0")
    assert routing.wrapped == ("0",)


def test_wrapped_adapted_and_single_layer_models_are_refused() -> None:
    with pytest.raises(UsageError, match="wrapped in DataParallel"):
        add_experts_(nn.DataParallel(network()), REGIONS, ExpertConfig())
    with pytest.raises(UsageError, match="wrapped in OptimizedModule"):
        add_experts_(torch.compile(network()), REGIONS, ExpertConfig())
    adapted = network()
    add_experts_(adapted, REGIONS, ExpertConfig())
    with pytest.raises(UsageError, match="has experts already"):
        add_experts_(adapted, REGIONS, ExpertConfig())
    with pytest.raises(UsageError, match="single Linear"):
        add_experts_(nn.Linear(2, 2), REGIONS, ExpertConfig())


def test_unknown_ranks_are_refused_before_anything_changes() -> None:
    model = network()
    with pytest.raises(UsageError, match="unknown region 'knee'"):
        add_experts_(model, REGIONS, ExpertConfig(ranks={"knee": 2}))
    assert not expert_layers(model)


def test_factors_are_those_of_every_region_and_layer() -> None:
    model = network()
    base = {id(parameter) for parameter in model.parameters()}
    add_experts_(model, REGIONS, ExpertConfig(depthwise=True))
    factors = factor_parameters(model)
    assert len(factors) == 2 * (2 + 2 + 1)  # down and up of two layers, one kernel, for two regions
    assert not base & {id(parameter) for parameter in factors}


def test_mode_and_device_type_of_the_layer_are_kept() -> None:
    model = network().double().eval()
    add_experts_(model, REGIONS, ExpertConfig())
    assert not any(module.training for module in model.modules())
    assert all(parameter.dtype == torch.float64 for parameter in model.parameters())


def test_a_layer_with_hooks_gets_no_expert() -> None:
    """Whether a hook runs would depend on the strategy that the shapes of a batch decide."""
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 3))
    model[0].register_forward_hook(lambda module, inputs, output: output.relu())
    routing = add_experts_(model, ["a"], ExpertConfig(rank=2))
    assert routing.wrapped == ("1",)
    assert dict(routing.skipped)["0"].startswith("it has hooks")


def test_a_norm_that_computes_in_its_own_way_stays_shared_with_the_reason() -> None:
    model = nn.Sequential(nn.Conv2d(3, 3, 1), nn.SyncBatchNorm(3), nn.BatchNorm2d(3), nn.BatchNorm2d(3))
    model[2].register_forward_hook(lambda module, inputs, output: output.relu())
    routing = add_experts_(model, REGIONS, ExpertConfig(norm="region"))
    reasons = dict(routing.skipped)
    assert "class SyncBatchNorm" in reasons["1"]
    assert reasons["2"].startswith("it has hooks")
    assert type(model[2]) is nn.BatchNorm2d
    assert isinstance(model[3], RegionNorm)


def test_a_layer_without_a_weight_yet_is_skipped_with_the_reason() -> None:
    routing = add_experts_(nn.Sequential(nn.Linear(3, 3), nn.LazyLinear(3)), REGIONS, ExpertConfig())
    assert dict(routing.skipped) == {"1": "class LazyLinear has no weight before its first batch"}


class Standardised(nn.Linear):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.linear(x, self.weight / self.weight.std(), self.bias)


@pytest.mark.parametrize("kind", [LowRankExperts, DepthwiseExperts])
def test_a_base_with_its_own_forward_is_refused(kind: type[ExpertLayer]) -> None:
    with pytest.raises(UsageError, match="layer 'fc' is a Standardised with its own forward"):
        kind(Standardised(3, 3), ExpertConfig(), Routing(("a",)), "fc")


@pytest.mark.parametrize(
    "compute",
    [
        nn.utils.parametrizations.weight_norm,
        nn.utils.parametrizations.spectral_norm,
        nn.utils.spectral_norm,
        lambda base: nn.utils.prune.random_unstructured(base, "weight", 0.5),
    ],
    ids=["weight_norm", "spectral_norm", "old_spectral_norm", "pruned"],
)
@pytest.mark.parametrize("base", [nn.Linear(4, 4), nn.Conv2d(4, 4, 1), nn.ConvTranspose2d(4, 4, 1)])
def test_a_weight_that_is_computed_later_is_refused_and_not_lost(
    base: nn.Module, compute: Callable[[nn.Module], object]
) -> None:
    """A merged weight would be written over a value that the next call computes anew."""
    model = nn.Sequential(copy.deepcopy(base))
    routing = add_experts_(model, ["a", "b"], ExpertConfig(rank=2))
    compute(model[0].base)
    x = torch.randn(2, 4) if isinstance(base, nn.Linear) else torch.randn(2, 4, 2, 2)
    with routing.use("a"), pytest.raises(UsageError, match=r"base of layer '0' .* computed weight"):
        model(x)
    for verb in (extract, fuse_):
        with pytest.raises(UsageError, match=r"base of layer '0' .* computed weight"):
            verb(model, "a")
    assert model[0].fused is None


def test_regional_norms_that_are_converted_later_are_refused() -> None:
    model = nn.Sequential(nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3))
    routing = add_experts_(model, ["a"], ExpertConfig(norm="region", rank=2))
    model = nn.SyncBatchNorm.convert_sync_batchnorm(model)
    with routing.use("a"), pytest.raises(UsageError, match="norm '1' by region was made a SyncBatchNorm"):
        model(torch.randn(2, 3, 4, 4))
