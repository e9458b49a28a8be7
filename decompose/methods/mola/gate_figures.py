"""What the gates of a router say of regions: means by region, their similarity, and how many regions are predicted.

Shapes: N images of a region, D gates of an image (groups x adapters), T regions.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import islice

import torch
import torch.nn.functional as F
from torch import Tensor

from lorkit.decompose.data.batches.loader import eval_batches
from lorkit.decompose.data.prepared import PreparedRegion
from lorkit.decompose.events import GateFigures
from lorkit.decompose.models.routed import RoutedModel

_BATCHES = 4
"""Most batches of a region: up to 1,024 images."""


@torch.no_grad()
def gate_figures(model: RoutedModel, val: Mapping[str, PreparedRegion]) -> GateFigures:
    """Measure the gates on the first validation images of each region.

    Args:
        model: In eval mode.
        val: Prepared images by region.
    """
    device = model.normalise.mean.device
    gates: dict[str, Tensor] = {}
    right: dict[str, float] = {}
    for index, name in enumerate(model.regions.names):
        rows = [model.gate(image.to(device)) for image, _ in islice(eval_batches(val[name]), _BATCHES)]
        gates[name] = torch.cat([gating.gates.flatten(1).double().cpu() for gating, _ in rows])
        predicted_N = torch.cat([regions.argmax(1).cpu() for _, regions in rows])
        right[name] = float((predicted_N == index).double().mean())
    return {
        "mean_gates": {name: _rounded(gates_ND.mean(0)) for name, gates_ND in gates.items()},
        "similarity": similarity(gates),
        "right_by_region": right,
    }


def similarity(gates: Mapping[str, Tensor]) -> dict[str, dict[str, float]]:
    """Return the mean cosine between the gates of two images, by the regions of both.

    Args:
        gates: By region, (N, D). A region's own entry is over pairs of different images, 1 if it has only one.
    """
    unit = {name: F.normalize(gates_ND, dim=1) for name, gates_ND in gates.items()}
    sums = {name: rows_ND.sum(0) for name, rows_ND in unit.items()}
    found: dict[str, dict[str, float]] = {}
    for one, rows_ND in unit.items():
        found[one] = {}
        for other, others_ND in unit.items():
            total, pairs = float(sums[one] @ sums[other]), len(rows_ND) * len(others_ND)
            if one == other:
                total, pairs = total - len(rows_ND), pairs - len(rows_ND)
            found[one][other] = round(total / pairs, 6) if pairs else 1.0
    return found


def _rounded(values: Tensor) -> list[float]:
    return [round(value, 6) for value in values.tolist()]
