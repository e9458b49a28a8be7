from __future__ import annotations

import torch
from monai.networks.nets.basic_unet import BasicUNet

from lorkit.decompose.models.backbones.unets import basicunet


def test_it_is_monais_without_its_last_convolution_in_four_stages() -> None:
    torch.manual_seed(0)
    network = basicunet.build(2, 2).eval()
    original = BasicUNet(2, 2, 1, features=(16, 16, 32, 64, 128, 16))
    left = {name for name in original.state_dict() if not name.startswith(network.head_name)}
    assert set(network.state_dict()) == left
    image = torch.rand(1, 2, 32, 32)
    with torch.inference_mode():
        found = basicunet.stages(network).run_stages(image)
        torch.testing.assert_close(found.features, network(image))
    assert [grid.shape[-1] for grid in found.grids] == [32 // factor for factor in (2, 4, 8, 16)]
    assert found.features.shape == (1, network.maps_dim, 32, 32)
