"""Distillation losses between maps, one value per sample: CWD compares channels, SKD pairs of places.

Shapes: n samples, K channels of logits, M maps of the student, L of the teacher, *spatial 2D or 3D, R nodes (places of
a coarse grid). The teacher's side, `y`, is a target. Every place counts, also those whose label is ignored: a teacher
needs no label. Everything is computed in float32 or wider, also under autocast.

Written from the papers' formulas: mmrazor has had no release since 2023, and the authors' code is for 2D.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from lorkit.decompose.methods.losses.relational import even, exact
from lorkit.decompose.models.reprogrammers import resampled
from lorkit.decompose.tasks.losses import wide

_SHORTEST = 1e-4


def channel_loss(x_nK: Tensor, y_nK: Tensor, temperature: float) -> Tensor:
    """Return CWD's loss of logits (n, K, *spatial): T^2 KL(teacher || student) over the places of a channel, (n,).

    The softmax is over all places of a channel, so that a network learns where each structure is salient, whatever the
    size of its logits; the result is the mean over channels. Shu et al., Channel-Wise Knowledge Distillation for Dense
    Prediction (ICCV 2021), eq. 4 and 5.
    """
    with exact(x_nK):
        x, y = (F.log_softmax(wide(side).flatten(2) / temperature, dim=2) for side in (x_nK, y_nK))
        return F.kl_div(x, y, reduction="none", log_target=True).sum(2).mean(1) * temperature**2


def pair_loss(x_nM: Tensor, y_nL: Tensor, nodes: int) -> Tensor:
    """Return SKD's pair-wise loss of maps (n, M, *spatial) and (n, L, *spatial), (n,).

    It is the mean square difference of the cosines between all pairs of nodes. Nodes are means of the maps over equal
    parts of the image, at most `nodes` along each axis. Liu et al., Structured Knowledge Distillation for Semantic
    Segmentation (CVPR 2019), eq. 2, with every node connected to all others. Invariant to rotation and scale of a side.
    A node that is nearly zero beside the largest value (1e-4) has a cosine that is smaller in size.
    """
    with exact(x_nM):
        cosines = []
        for side in (x_nM, y_nL):
            grid = tuple(min(size, nodes) for size in side.shape[2:])
            node_nMR = F.normalize(resampled(even(side), grid).flatten(2), dim=1, eps=_SHORTEST)
            cosines.append(node_nMR.mT @ node_nMR)
        return (cosines[0] - cosines[1]).square().mean((1, 2))
