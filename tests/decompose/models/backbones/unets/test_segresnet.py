from __future__ import annotations

import torch
from monai.networks.nets.segresnet import SegResNet

from lorkit.decompose.models.backbones.unets import segresnet


def test_it_is_monais_without_its_last_convolution_in_four_stages() -> None:
    torch.manual_seed(0)
    network = segresnet.build(2, 2).eval()
    original = SegResNet(2, 16, 2, 1)
    left = {name for name in original.state_dict() if not name.startswith(network.head_name)}
    assert set(network.state_dict()) == left
    image = torch.rand(1, 2, 16, 16)
    with torch.inference_mode():
        found = segresnet.stages(network).run_stages(image)
        torch.testing.assert_close(found.features, network(image))
    assert [grid.shape[-1] for grid in found.grids] == [16 // factor for factor in (1, 2, 4, 8)]
    assert found.features.shape == (1, network.maps_dim, 16, 16)
