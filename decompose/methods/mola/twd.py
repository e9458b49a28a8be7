"""Task-wise decorrelation (TwD) of MoLA-Router: a supervised contrastive loss on what the router says of samples.

Shapes: N samples of the batch on all ranks, n of this rank, D numbers of each sample.

With z the normalised rows, S_ij = z_i . z_j / tau and P the ordered pairs i != j of one region (MoLA, ICML 2024):

    L = -(1 / |P|) sum over (i, j) in P of [ S_ij - log sum over l != i of exp S_il ]

Samples of a region get similar gates, and those of different regions different ones.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def decorrelation(rows_ND: Tensor, region_N: Tensor, tau: float) -> Tensor:
    """Return each sample's part of the loss, (N,); they sum to L. All are 0 if no two samples are of one region.

    Args:
        rows_ND: What is compared, of any length; a row of zeros stays zero.
        region_N: Regions of the samples.
        tau: Temperature.
    """
    z_ND = F.normalize(rows_ND, dim=1)
    similarity_NN = z_ND @ z_ND.T / tau
    itself_NN = torch.eye(len(z_ND), dtype=torch.bool, device=z_ND.device)
    positive_NN = (region_N[:, None] == region_N[None]) & ~itself_NN
    pairs = positive_NN.sum()
    # a single sample has no others to be compared with, and no positive pair
    others_N = similarity_NN.masked_fill(itself_NN, torch.finfo(z_ND.dtype).min).logsumexp(1)
    logs_NN = torch.where(positive_NN, similarity_NN - others_N[:, None], 0.0)
    return -logs_NN.sum(1) / pairs.clamp_min(1)
