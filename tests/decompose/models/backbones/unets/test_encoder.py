from __future__ import annotations

import pytest
import torch
from torch import nn

from lorkit.decompose.errors import UsageError
from lorkit.decompose.models.backbones.outputs import feature_width, with_own_output
from lorkit.decompose.models.backbones.registry import attach_head, build_backbone, new_head
from lorkit.decompose.models.backbones.stage_adapters import staged
from lorkit.decompose.models.backbones.unets import UNETS

SMALLEST = {"swinunetr": (32, 64), "basicunet": (16, 32)}


@pytest.mark.parametrize("name", UNETS)
@pytest.mark.parametrize("dims", [2, 3])
def test_the_features_of_classes_of_a_unet_are_its_mean_bottleneck_without_the_decoder(name: str, dims: int) -> None:
    if name == "swinunetr" and dims == 3:
        pytest.skip("as in 2D, and slow")
    size = SMALLEST.get(name, (8, 16)) + (16,) * (dims - 2)
    torch.manual_seed(0)
    whole = build_backbone(name, channels=2, image_size=size, dense=True).eval()
    encoder = with_own_output(whole, dense=False)
    x = torch.randn(2, 2, *size)
    with torch.no_grad():
        bottleneck = staged(whole).run_stages(x).grids[-1]
        features = encoder(x)
        assert features.shape == (2, feature_width(whole, dense=False))
        if name == "swinunetr":  # MONAI gives the decoder normalised grids
            bottleneck = nn.functional.layer_norm(bottleneck.movedim(1, -1), bottleneck.shape[1:2]).movedim(-1, 1)
        torch.testing.assert_close(features, bottleneck.flatten(2).mean(2))
    kept, first = encoder.state_dict(), whole.state_dict()
    assert all(kept[key].data_ptr() == first[key].data_ptr() for key in kept), "original keys, shared weights"
    used = torch.autograd.grad(encoder(x).sum(), list(encoder.parameters()), allow_unused=True)
    assert all(gradient is not None for gradient in used), "nothing of the decoder is left"
    reached = torch.autograd.grad(whole(x).sum(), list(whole.parameters()), allow_unused=True)
    assert all(gradient is not None for gradient in reached)
    fresh = build_backbone(name, channels=2, image_size=size)
    assert {key: value.shape for key, value in fresh.state_dict().items()} == {k: v.shape for k, v in kept.items()}
    attach_head(fresh, new_head(fresh, 3, maps=False)).eval()(x)
    with pytest.raises(UsageError, match="a U-Net without its decoder"):
        new_head(fresh, 3, maps=True)
