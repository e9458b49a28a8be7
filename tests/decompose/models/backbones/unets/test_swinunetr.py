from __future__ import annotations

import torch
from monai.networks.nets.swin_unetr import SwinUNETR

from lorkit.decompose.models.backbones.unets import swinunetr


def test_it_is_monais_without_its_last_convolution_in_four_stages() -> None:
    torch.manual_seed(0)
    network = swinunetr.build(2, 2).eval()
    original = SwinUNETR(2, 1, feature_size=12, spatial_dims=2)
    left = {name for name in original.state_dict() if not name.startswith(network.head_name)}
    assert set(network.state_dict()) == left
    image = torch.rand(1, 2, 64, 64)
    with torch.inference_mode():
        found = swinunetr.stages(network).run_stages(image)
        torch.testing.assert_close(found.features, network(image))
    assert [grid.shape[-1] for grid in found.grids] == [64 // factor for factor in (4, 8, 16, 32)]
    assert found.features.shape == (1, network.maps_dim, 64, 64)
