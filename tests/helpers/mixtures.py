"""Small networks with the heads of several regions, written by hand: a router, and one that takes the region."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from lorkit.decompose.documents.heads import (
    CONFIDENCE,
    GATES,
    IMAGE,
    LOGITS,
    REGION,
    REGION_PROBABILITIES,
    Head,
    HeadPolicy,
    Mixture,
    MixtureForm,
    head_output,
)
from lorkit.decompose.regions import Region

CHEST = Region(name="chest", classes=("normal", "ill"))
BRAIN = Region(name="brain", classes=("normal", "bleeding", "tumour"))
REGIONS = (CHEST, BRAIN)


def mixture_of(
    form: MixtureForm,
    regions: Sequence[Region] = REGIONS,
    *,
    policy: HeadPolicy = "routed",
    abstain_below: float | None = None,
) -> Mixture:
    """Describe a network of these regions."""
    heads = [
        Head(region=one.name, task=one.task, classes=list(one.classes), synthetic=False, output=head_output(one.name))
        for one in regions
    ]
    return Mixture(form=form, heads=heads, policy=policy, abstain_below=abstain_below)


class _Body(nn.Module):
    """A convolution with a shared weight and the update of each adapter, gated per image, and a head per region."""

    def __init__(self, regions: Sequence[Region], channels: int, seed: int) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.shared = nn.Conv2d(channels, 6, 3, padding=1)
        self.down = nn.Conv2d(channels, 2 * len(regions), 3, padding=1, bias=False)
        self.up = nn.Conv2d(2 * len(regions), 6, 1, bias=False)
        self.dense = [one.task == "segmentation" for one in regions]
        sizes = [len(one.classes) + one_is_dense for one, one_is_dense in zip(regions, self.dense, strict=True)]
        self.heads = nn.ModuleList(nn.Conv2d(6, size, 1) for size in sizes)

    def forward(self, image: Tensor, gates_NM: Tensor) -> list[Tensor]:
        gates = gates_NM.repeat_interleave(2, 1)[:, :, None, None]
        maps = torch.relu(self.shared(image) + self.up(self.down(image) * gates))
        pooled = maps.mean((2, 3), keepdim=True)
        return [
            head(maps) if dense else head(pooled).flatten(1) for head, dense in zip(self.heads, self.dense, strict=True)
        ]


class RegionIdNetwork(nn.Module):
    """Image and region to the logits of every head."""

    input_names = (IMAGE, REGION)

    def __init__(self, regions: Sequence[Region] = REGIONS, *, channels: int = 1, seed: int = 0) -> None:
        super().__init__()
        self.output_names = tuple(head_output(one.name) for one in regions)
        self.body, self.count = _Body(regions, channels, seed), len(regions)

    def forward(self, image: Tensor, region: Tensor) -> tuple[Tensor, ...]:
        gates_NM = (region[:, None] == torch.arange(self.count, device=image.device)).float()
        return tuple(self.body(image, gates_NM))


class RouterNetwork(nn.Module):
    """Image to the logits of every head, and the region found: bright images are of the last region."""

    input_names = (IMAGE,)

    def __init__(
        self,
        regions: Sequence[Region] = REGIONS,
        *,
        channels: int = 1,
        seed: int = 0,
        weighted: bool = False,
        brightness: float = 0.5,
    ) -> None:
        super().__init__()
        names = tuple(head_output(one.name) for one in regions)
        self.output_names = (*names, *((LOGITS,) if weighted else ()), REGION_PROBABILITIES, CONFIDENCE, GATES)
        self.body, self.weighted = _Body(regions, channels, seed), weighted
        self.register_buffer("centres", brightness + torch.linspace(-0.2, 0.2, len(regions)))
        self.centres: Tensor

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        brightness = image.mean((1, 2, 3))
        shares_NT = torch.softmax(-200 * (brightness[:, None] - self.centres) ** 2, 1)
        logits = self.body(image, shares_NT)
        mixed = [torch.stack(logits, 1).mul(shares_NT[:, :, None]).sum(1)] if self.weighted else []
        return (*logits, *mixed, shares_NT, shares_NT.amax(1), shares_NT[:, None])
