"""Blocks that run twice: the same gradients, and statistics that moved once."""

from collections.abc import Callable

import pytest
import torch
from torch import nn

from lorkit.decompose.data.batches.loader import Batch
from lorkit.decompose.errors import UsageError
from lorkit.decompose.experts import expert_layers
from lorkit.decompose.methods import TrainingModule
from lorkit.decompose.models.backbones.registry import build_backbone
from lorkit.decompose.tasks.losses import total
from lorkit.decompose.training.loop.recomputing import blocks_of, recomputed


def gradients(module: TrainingModule, batch: Batch, backwards: int, *, bf16: bool) -> list[torch.Tensor]:
    with module.live.scope(batch.region), torch.autocast("cpu", torch.bfloat16, enabled=bf16):
        loss = total(module(batch, None))
        for index in range(backwards):
            loss.backward(retain_graph=index + 1 < backwards)
    return [value.grad for value in module.parameters() if value.grad is not None]


@pytest.mark.parametrize(("method", "norm"), [("lorkd", "region"), ("lorkd", "statistics"), ("mtl", "shared")])
@pytest.mark.parametrize(("backwards", "bf16"), [(1, False), (2, False), (1, True)])
def test_gradients_and_running_statistics_are_those_of_the_plain_network(
    tiny_module: Callable[..., TrainingModule],
    make_batch: Callable[..., Batch],
    method: str,
    norm: str,
    backwards: int,
    bf16: bool,
) -> None:
    plain, other = (tiny_module(method, f"lorkd.norm={norm}").train() for _ in range(2))
    runs: list[int] = []
    other.live.backbone.blocks[0].register_forward_hook(lambda *_: runs.append(1))
    inner = other.live.backbone.blocks[0].conv
    inner.register_forward_pre_hook(lambda *_: runs.append(2))
    expected = gradients(plain, make_batch(5, 7), backwards, bf16=bf16)
    keys = list(other.state_dict())
    with recomputed(other.live.backbone):
        found = gradients(other, make_batch(5, 7), backwards, bf16=bf16)
        assert list(other.state_dict()) == keys
    assert runs.count(2) == 1 + backwards  # else nothing was recomputed
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-6, atol=1e-7)
    for name, value in plain.state_dict().items():
        assert torch.equal(value, other.state_dict()[name]), name
    assert "forward" not in vars(other.live.backbone.blocks[0])


@pytest.mark.parametrize("name", ["resnet18", "shufflenet_v2_x1_0", "vit_tiny", "densenet121"])
def test_the_blocks_of_our_backbones_are_found(name: str) -> None:
    with torch.device("meta"):
        backbone = build_backbone(name, channels=1, image_size=(32, 32))
    blocks = blocks_of(backbone)
    held = sum(value.numel() for block in blocks for value in block.parameters())
    assert len(blocks) >= 6
    assert held > 0.85 * sum(value.numel() for value in backbone.parameters()) - 500_000


def test_an_expert_layer_is_no_block(tiny_module: Callable[..., TrainingModule]) -> None:
    backbone = tiny_module("lorkd").live.backbone
    assert not set(blocks_of(backbone)) & set(expert_layers(backbone).values())
    assert blocks_of(backbone) == list(backbone.blocks)


def test_a_backbone_without_blocks_is_refused() -> None:
    with pytest.raises(UsageError, match="no list of blocks"), recomputed(nn.Conv2d(1, 1, 1)):
        pass
