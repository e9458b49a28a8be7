"""The stages of layers, against the names of known architectures."""

from __future__ import annotations

import torch

from lorkit.decompose.models.backbones.layer_stages import stages_of_layers
from lorkit.decompose.models.backbones.registry import build_backbone


def test_layers_of_a_resnet_are_of_the_stage_in_their_name() -> None:
    torch.manual_seed(0)
    found = stages_of_layers(build_backbone("resnet18", channels=1, image_size=(32, 32)), (1, 32, 32))
    assert found["conv1"] == found["bn1"] == found["layer1.0.conv1"] == 0
    assert all(stage == int(name[5]) - 1 for name, stage in found.items() if name.startswith("layer"))


def test_blocks_of_a_transformer_are_four_runs() -> None:
    found = stages_of_layers(build_backbone("vit_tiny", channels=1, image_size=(32, 32)), (1, 32, 32))
    blocks = [
        next(stage for name, stage in found.items() if f"blocks.{index}.attention" in name) for index in range(12)
    ]
    assert blocks == [0] * 3 + [1] * 3 + [2] * 3 + [3] * 3


def test_the_decoder_of_a_u_net_is_of_the_last_stage() -> None:
    network = build_backbone("basicunet", channels=1, image_size=(32, 32), dense=True)
    found = stages_of_layers(network, (1, 32, 32))
    assert {stage for name, stage in found.items() if name.startswith("upcat")} == {3}
    assert found[next(name for name in found if name.startswith("conv_0"))] == 0


def test_the_network_is_not_changed() -> None:
    network = build_backbone("resnet18", channels=1, image_size=(32, 32))
    before = {name: value.clone() for name, value in network.state_dict().items()}
    network.requires_grad_(False)
    stages_of_layers(network, (1, 32, 32))
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert not any(value.requires_grad for value in network.parameters())
