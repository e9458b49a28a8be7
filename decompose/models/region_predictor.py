"""Which region an image is of, and how sure that is, from the hidden numbers of a router.

Shapes: N images, H hidden numbers, T regions.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

ABSTAIN_BELOW = 0.5
"""The confidence at the distance that few validation images exceed, by construction."""


class RegionPredictor(nn.Module):
    """Probabilities of the regions, and a confidence that falls with the distance from all of them.

    The probabilities are the softmax of the region head at a temperature. A softmax is also sure of images of no
    region, so the confidence is not taken from it: each region is a Gaussian over hidden numbers, the distance of an
    image is twice the negative log-likelihood under the nearest one (up to a constant), and

        confidence = 1 / (1 + exp((distance - limit) / spread)).

    Args:
        head: (N, H) to logits (N, T).

    Attributes:
        temperature: Divides the logits.
        mean: (T, H) of each region.
        whiten: (T, H, H), maps deviations from the mean to independent numbers of variance 1.
        offset: (T,) log-determinant of each covariance.
        limit: Distance of confidence 0.5.
        spread: How fast the confidence falls.
    """

    temperature: Tensor
    mean: Tensor
    whiten: Tensor
    offset: Tensor
    limit: Tensor
    spread: Tensor

    def __init__(self, head: nn.Linear) -> None:
        super().__init__()
        regions, hidden = head.out_features, head.in_features
        self.head = head
        self.register_buffer("temperature", torch.ones(()))
        self.register_buffer("mean", torch.zeros(regions, hidden))
        self.register_buffer("whiten", torch.eye(hidden).repeat(regions, 1, 1))
        self.register_buffer("offset", torch.zeros(regions))
        self.register_buffer("limit", torch.zeros(()))
        self.register_buffer("spread", torch.ones(()))

    def forward(self, hidden: Tensor) -> tuple[Tensor, Tensor]:
        """Map hidden numbers (N, H) to probabilities (N, T) and confidences (N,)."""
        probabilities = (self.head(hidden) / self.temperature).softmax(1)
        return probabilities, torch.sigmoid((self.limit - self.distance(hidden)) / self.spread)

    def distance(self, hidden: Tensor) -> Tensor:
        """Return the distance (N,) of hidden numbers (N, H) from the nearest region."""
        # one multiplication for all regions: (T * H, H)
        flat, shift = self.whiten.flatten(0, 1), (self.whiten @ self.mean[..., None]).flatten()
        whitened = (hidden @ flat.T - shift).reshape(-1, *self.mean.shape)
        return (whitened.square().sum(2) + self.offset).amin(1)
