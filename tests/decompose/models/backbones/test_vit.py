from __future__ import annotations

import pytest
import torch
from torch import nn

from lorkit.decompose.config import ExpertConfig
from lorkit.decompose.errors import UsageError
from lorkit.decompose.experts import add_experts_, extract
from lorkit.decompose.models.backbones.vit import Attention, VisionTransformer, patch_size, vit_tiny


def test_attention_is_torchs() -> None:
    torch.manual_seed(0)
    ours = Attention(8, 2).double()
    theirs = nn.MultiheadAttention(8, 2, batch_first=True).double()
    with torch.no_grad():
        theirs.in_proj_weight.copy_(torch.cat([ours.query.weight, ours.key.weight, ours.value.weight]))
        theirs.in_proj_bias.copy_(torch.cat([ours.query.bias, ours.key.bias, ours.value.bias]))
        theirs.out_proj.load_state_dict(ours.out.state_dict())
    x = torch.randn(3, 5, 8, dtype=torch.float64)
    torch.testing.assert_close(ours(x), theirs(x, x, x, need_weights=False)[0])


def test_experts_reach_every_linear_layer() -> None:
    torch.manual_seed(0)
    model = VisionTransformer(channels=1, image_size=(8, 8), width=8, heads=2, depth=2, patch=4).double()
    keys = list(model.state_dict())
    routing = add_experts_(model, ["a", "b"], ExpertConfig(rank=2))
    assert len(routing.wrapped) == 1 + 2 * 6
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.2)
    x, ids = torch.randn(4, 1, 8, 8, dtype=torch.float64), torch.tensor([1, 0, 0, 1])
    with routing.use(ids):
        y = model(x)
    for t, region in enumerate("ab"):
        plain = extract(model, region)
        assert list(plain.state_dict()) == keys
        torch.testing.assert_close(plain(x[ids == t]), y[ids == t])


@pytest.mark.parametrize(("size", "patch"), [((32, 32), 4), ((64, 64), 8), ((48, 64), 8), ((224, 224), 16)])
def test_patches_follow_the_image(size: tuple[int, int], patch: int) -> None:
    assert patch_size(size) == patch


def test_sizes_that_no_patch_divides_are_refused() -> None:
    with pytest.raises(UsageError, match=r"image size 50x64.*multiples of its patch of 8"):
        vit_tiny(3, (50, 64))
