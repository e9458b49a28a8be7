"""Stages: the same network in pieces, entered anywhere."""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import pytest
import torch
from torch import nn

from lorkit.decompose.errors import UsageError
from lorkit.decompose.models.backbones.outputs import with_own_output
from lorkit.decompose.models.backbones.registry import build_backbone
from lorkit.decompose.models.backbones.stage_adapters import forked, injection_context, stage_shapes, staged
from lorkit.decompose.models.backbones.stages import STAGES


class Case(NamedTuple):
    name: str
    size: tuple[int, ...] = (32, 32)
    dense: bool = False
    channels: int = 1


CASES = [
    Case("densenet121"),
    Case("resnet18"),
    Case("shufflenet_v2_x1_0"),
    Case("vit_tiny"),
    Case("ragformer", (3, 2, 5), channels=4),
    Case("node_mlp", (3, 2, 5), channels=4),
    Case("resnet18_3d", (8, 16, 8)),
    Case("unet", (16, 24), dense=True),
    Case("basicunet", (32, 32), dense=True),
    Case("segresnet", (16, 24), dense=True),
    Case("dynunet", (16, 24), dense=True),
    Case("swinunetr", (32, 64), dense=True),
    Case("unet", (8, 16, 16), dense=True),
    Case("basicunet", (16, 32, 16), dense=True),
    Case("segresnet", (8, 16, 16), dense=True),
    Case("dynunet", (8, 16, 16), dense=True),
    Case("shufflenet_v2_x1_0", (16, 16), dense=True),
    Case("vit_tiny", (16, 16), dense=True),
    Case("resnet18_3d", (8, 8, 8), dense=True),
]


@pytest.fixture(scope="module", params=CASES, ids=lambda case: f"{case.name}-{len(case.size)}d{'-maps' * case.dense}")
def built(request: pytest.FixtureRequest) -> tuple[Case, nn.Module]:
    case: Case = request.param
    torch.manual_seed(0)
    return case, build_backbone(case.name, channels=case.channels, image_size=case.size, dense=case.dense).eval()


def test_a_walk_is_the_network_and_every_stage_leads_to_the_same_end(built: tuple[Case, nn.Module]) -> None:
    case, backbone = built
    x = torch.randn(2, case.channels, *case.size)
    enter = partial(staged, dense=case.dense)
    network = enter(backbone)
    with torch.no_grad():
        walk = network.run_stages(x)
        kept = [grid.clone() for grid in walk.grids]
        assert torch.equal(walk.features, with_own_output(backbone, dense=case.dense)(x))
        assert walk.features.shape[2:] == (case.size if case.dense else ())
        assert len(walk.grids) == len(walk.context) == STAGES
        assert stage_shapes(backbone, (case.channels, *case.size), enter) == [
            tuple(grid.shape[1:]) for grid in walk.grids
        ]
        for stage, (grid, context) in enumerate(zip(walk.grids, walk.context, strict=True)):
            assert grid.dim() == 2 + len(case.size)
            assert torch.equal(network.forward_from(stage, grid, context), walk.features)
            other = network.forward_from(stage, torch.randn_like(grid), context)
            assert not torch.allclose(other, walk.features)
        assert all(torch.equal(*pair) for pair in zip(kept, walk.grids, strict=True)), "no pass changes a kept grid"
        first, context = network.first_grid(x)
        assert torch.equal(first, walk.grids[0])
        assert torch.equal(network.forward_from(0, first, context), walk.features)


def test_a_fork_gives_the_features_of_classes_and_of_masks(built: tuple[Case, nn.Module]) -> None:
    case, backbone = built
    x, network = torch.randn(3, case.channels, *case.size), forked(backbone)
    with torch.no_grad():
        encoding = network.encode_from(0, *network.first_grid(x))
        assert torch.equal(network.pooled(encoding.last), with_own_output(backbone, dense=False)(x))
        whole = staged(backbone, dense=True).run_stages(x)
        assert torch.equal(network.maps(encoding), whole.features)
        assert all(torch.equal(*pair) for pair in zip(encoding.grids, whole.grids, strict=True))
        some = encoding.rows([slice(0, 1), slice(2, 3)])
        torch.testing.assert_close(network.maps(some), whole.features[[0, 2]])


def test_injected_features_train_later_stages_only(built: tuple[Case, nn.Module]) -> None:
    case, backbone = built
    network, parameters = staged(backbone, dense=case.dense), list(backbone.parameters())
    walk = network.run_stages(torch.randn(2, case.channels, *case.size))
    trained = []
    for stage in range(STAGES):
        earlier = _touched(walk.grids[stage], parameters)
        injected = [torch.randn_like(grid).requires_grad_() for grid in walk.grids]
        end = network.forward_from(stage, injected[stage], injection_context(walk, stage, injected, "student"))
        later = _touched(end, [*parameters, injected[stage]])
        assert len(parameters) in later, "the injected features are learned from"
        assert not earlier & later, "nothing up to the stage is"
        trained.append(len(later))
    assert trained == sorted(trained, reverse=True)


def _touched(value: torch.Tensor, parameters: list[torch.Tensor]) -> set[int]:
    if not value.requires_grad:
        return set()
    grads = torch.autograd.grad(
        (value * torch.randn_like(value)).sum(), parameters, retain_graph=True, allow_unused=True
    )
    return {index for index, grad in enumerate(grads) if grad is not None and grad.any()}


@pytest.mark.parametrize("name", ["basicunet", "segresnet"])
def test_the_skips_of_a_hybrid_pass_are_those_that_the_policy_names(name: str) -> None:
    torch.manual_seed(0)
    network = staged(build_backbone(name, channels=1, image_size=(32, 32), dense=True).eval())
    walk = network.run_stages(torch.randn(2, 1, 32, 32))
    injected = [torch.randn_like(grid).requires_grad_() for grid in walk.grids]
    own, foreign, zero = (injection_context(walk, 2, injected, skips) for skips in ("student", "reprogrammed", "zero"))
    assert all(torch.equal(*pair) for pair in zip(own.skips, walk.grids[:2], strict=True))
    assert not any(one.requires_grad for one in (*own.skips, *own.stem, *foreign.stem))
    assert all(one is other for one, other in zip(foreign.skips, injected[:2], strict=True))
    assert not any(one.any() for one in (*zero.skips, *zero.stem))
    ends = [network.forward_from(2, injected[2], context) for context in (own, foreign, zero)]
    assert not torch.allclose(ends[0], ends[1])
    assert not torch.allclose(ends[0], ends[2])


def test_what_is_no_known_architecture_is_refused() -> None:
    with pytest.raises(UsageError, match="Linear has no known stages"):
        staged(nn.Linear(2, 2))
