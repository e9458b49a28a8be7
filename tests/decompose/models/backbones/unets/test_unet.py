from __future__ import annotations

import torch
from monai.networks.nets.unet import UNet

from lorkit.decompose.models.backbones.unets import unet


def test_it_is_monais_up_to_its_features_in_four_stages() -> None:
    torch.manual_seed(0)
    network = unet.UNet(2, 2).eval()
    original = UNet(2, 2, 32, (32, 64, 128, 256), (2, 2, 2), num_res_units=2)
    assert set(network.model.state_dict()) == set(original.model.state_dict())
    image = torch.rand(1, 2, 16, 16)
    with torch.inference_mode():
        found = unet.stages(network).run_stages(image)
        torch.testing.assert_close(found.features, network(image))
    assert [grid.shape[-1] for grid in found.grids] == [16 // factor for factor in (2, 4, 8, 8)]
    assert found.features.shape == (1, network.maps_dim, 16, 16)
