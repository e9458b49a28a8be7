"""Stages of timm's networks with one of three common structures.

- ResNets and similar (`conv1`, `layer1` to `layer4`): as the ResNets of this project.
- Networks of a `stem` and four `stages` (ConvNeXt): its stages, the stem with the first.
- Vision transformers (`patch_embed`, `blocks`): four equal runs of blocks on the grid of patches; class and register
  tokens are context. If only these are pooled, they are the last grid, (N, D, R, 1).
"""

from __future__ import annotations

from typing import Any, cast

from torch import Tensor, nn

from lorkit.decompose.models.backbones.stages import STAGES, Gridded, SequentialStages, TransformerStages

LAYERS = tuple(f"layer{index + 1}" for index in range(STAGES))


def timm_stages(network: Any, *, dense: bool = False) -> Gridded | None:
    """Return a network of timm in stages, or None for another structure or network."""
    if not type(network).__module__.startswith("timm.") or not hasattr(network, "forward_head"):
        return None
    if all(hasattr(network, name) for name in ("conv1", "bn1", "act1", "maxpool", *LAYERS)):
        return _layers(network)
    if all(hasattr(network, name) for name in ("stem", "stages", "norm_pre")) and len(network.stages) == STAGES:
        return _stem_and_stages(network)
    blocks = getattr(network, "blocks", None)
    if isinstance(blocks, nn.Sequential) and len(blocks) >= STAGES and hasattr(network, "_pos_embed"):
        return _transformer(network, dense)
    return None


def _layers(network: Any) -> Gridded:
    first, *later = (network.get_submodule(name) for name in LAYERS)

    def stem(x: Tensor) -> Tensor:
        return cast(Tensor, first(network.maxpool(network.act1(network.bn1(network.conv1(x))))))

    return SequentialStages([stem, *later], network.forward_head)


def _stem_and_stages(network: Any) -> Gridded:
    first, *later = network.stages

    def stem(x: Tensor) -> Tensor:
        return cast(Tensor, first(network.stem(x)))

    def tail(x: Tensor) -> Tensor:
        return cast(Tensor, network.forward_head(network.norm_pre(x)))

    return SequentialStages([stem, *later], tail)


def _transformer(network: Any, dense: bool) -> Gridded:
    def embed(x: Tensor) -> tuple[Tensor, tuple[int, ...]]:
        size = network.patch_embed.dynamic_feat_size(tuple(x.shape[2:]))
        x = network._pos_embed(network.patch_embed(x))
        return network.norm_pre(network.patch_drop(x)), size

    def pool(x: Tensor) -> Tensor:
        return cast(Tensor, network.forward_head(network.norm(x)))

    prefix = int(network.num_prefix_tokens)
    by_token = network.global_pool == "token" and prefix > 0
    blocks = list(network.blocks)
    return TransformerStages(blocks, prefix, embed=embed, norm=network.norm, pool=pool, by_token=by_token, dense=dense)
