from __future__ import annotations

import torch
from monai.networks.nets.dynunet import DynUNet

from lorkit.decompose.models.backbones.unets import dynunet


def test_it_is_monais_with_each_block_once_in_four_stages() -> None:
    torch.manual_seed(0)
    network = dynunet.DynUNet(2, 2).eval()
    original = DynUNet(2, 2, 1, [(3, 3)] * 4, [1, 2, 2, 2], [2, 2, 2], filters=(16, 32, 64, 128))
    own = {name for name in original.state_dict() if not name.startswith(("skip_layers", network.head_name))}
    assert set(network.state_dict()) == own, "each block once"
    image = torch.rand(1, 2, 16, 16)
    with torch.inference_mode():
        found = dynunet.stages(network).run_stages(image)
        torch.testing.assert_close(found.features, network(image))
    assert [grid.shape[-1] for grid in found.grids] == [16 // factor for factor in (1, 2, 4, 8)]
    assert found.features.shape == (1, network.maps_dim, 16, 16)
