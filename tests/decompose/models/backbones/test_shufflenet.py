from __future__ import annotations

import torch

from lorkit.decompose.models.backbones.shufflenet import ShuffleNetV2, ShuffleUnit


def test_parameter_count_and_keys_are_the_public_ones() -> None:
    state = ShuffleNetV2(channels=3).state_dict()
    assert sum(parameter.numel() for parameter in ShuffleNetV2(channels=3).parameters()) == 1_253_604
    assert len(state) == 336  # the public file's 338 less fc.weight and fc.bias
    for key, shape in {
        "conv1.0.weight": (24, 3, 3, 3),
        "stage2.0.branch1.0.weight": (24, 1, 3, 3),
        "stage2.0.branch1.2.weight": (58, 24, 1, 1),
        "stage2.1.branch2.3.weight": (58, 1, 3, 3),
        "stage4.3.branch2.6.running_mean": (232,),
        "conv5.1.weight": (1024,),
    }.items():
        assert state[key].shape == shape


def test_a_unit_interleaves_the_channels_of_its_branches() -> None:
    unit = ShuffleUnit(4, 4, 1).eval()
    x = torch.randn(2, 4, 3, 3)
    y = unit(x)
    assert torch.equal(y[:, 0::2], x[:, :2])
    torch.testing.assert_close(y[:, 1::2], unit.branch2(x[:, 2:]))
