from __future__ import annotations

import pytest
import torch

from lorkit.decompose.errors import UsageError
from lorkit.decompose.models.backbones.registry import build_backbone
from lorkit.decompose.models.backbones.stage_adapters import staged


def test_the_last_stage_is_the_class_token_or_the_patches() -> None:
    torch.manual_seed(0)
    vit = build_backbone("vit_tiny", channels=1, image_size=(16, 16)).eval()
    x = torch.randn(2, 1, 16, 16)
    with torch.no_grad():
        tokens = vit.blocks(vit.tokens(vit.patches(x)))
        classes, patches = (staged(vit, dense=dense).run_stages(x).grids[-1] for dense in (False, True))
        assert torch.equal(classes[..., 0], tokens[:, :1].transpose(1, 2))
        torch.testing.assert_close(patches, vit.norm(tokens)[:, 1:].transpose(1, 2).unflatten(2, (4, 4)))


def test_patches_alone_are_refused() -> None:
    vit = staged(build_backbone("vit_tiny", channels=1, image_size=(32, 32)))
    with pytest.raises(UsageError, match="without a class token"):
        vit.forward_from(0, torch.zeros(1, 192, 8, 8))
