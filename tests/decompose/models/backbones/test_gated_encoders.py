"""A backbone of several encoders: its name, and features by their definition."""

from __future__ import annotations

import pytest
import torch

from lorkit.decompose.errors import UsageError
from lorkit.decompose.models.backbones.gated_encoders import gated_name, parse_gated
from lorkit.decompose.models.backbones.outputs import with_own_output
from lorkit.decompose.models.backbones.registry import attach_head, build_backbone, new_head
from lorkit.decompose.models.backbones.stage_adapters import encode, forked


def test_names_are_read_back_and_others_are_not() -> None:
    assert parse_gated(gated_name("timm:mmoe-2:x", 12)) == (12, "timm:mmoe-2:x")
    assert [parse_gated(name) for name in ("resnet18", "mmoe:resnet18", "mmoe-0:resnet18", "mmoe-2:")] == [None] * 4


@pytest.mark.parametrize(
    ("encoder", "shape", "dense"),
    [
        ("resnet18", (3, 16, 24), False),
        ("resnet18", (1, 16, 16), True),
        ("unet", (1, 32, 32), True),
        ("tiny_resnet_3d", (1, 8, 8, 8), True),
    ],
)
def test_features_are_the_mean_of_the_encoders_by_the_softmax_of_a_linear_map(
    encoder: str, shape: tuple[int, ...], dense: bool
) -> None:
    torch.manual_seed(0)
    backbone = build_backbone(gated_name(encoder, 2), channels=shape[0], image_size=shape[1:], dense=dense).double()
    network = with_own_output(backbone.eval(), dense=dense)
    x = torch.randn(3, *shape, dtype=torch.float64)
    with torch.no_grad():
        scores = x.reshape(3, -1) @ network.gate.weight.T + network.gate.bias
        weights = scores.exp() / scores.exp().sum(1, keepdim=True)
        first, second = (one(x) for one in network.encoders)
        expected = [weights[n, 0] * first[n] + weights[n, 1] * second[n] for n in range(3)]
        torch.testing.assert_close(network(x), torch.stack(expected))
        head = new_head(backbone, 4, maps=dense).double()
        torch.testing.assert_close(attach_head(network, head)(x), head(network(x)))
        fork = forked(backbone)
        for masks in (False, True):
            kind, found = with_own_output(backbone, dense=masks)(x), encode(fork, x)
            torch.testing.assert_close(fork.maps(found) if masks else fork.pooled(found.last), kind)
    assert not torch.equal(first, second)


def test_an_unknown_encoder_is_refused_by_its_own_name() -> None:
    with pytest.raises(UsageError, match="backbone 'resnet19'"):
        build_backbone("mmoe-2:resnet19", channels=1, image_size=(16, 16))
