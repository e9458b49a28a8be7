"""How good the weights of an epoch are: the score that decides which epoch is kept."""

from __future__ import annotations

from typing import cast

import numpy as np
import torch
from torch import Tensor

from lorkit.decompose.data.loading import eval_batches
from lorkit.decompose.data.prepared import PreparedRegion
from lorkit.decompose.models.regional import RegionalModel, RegionalOutput


@torch.no_grad()
def validation_score(model: RegionalModel, prepared: PreparedRegion, region: str, device: torch.device) -> float:
    """Return the balanced accuracy of a region's validation part: the mean recall of the classes that are there."""

    def predict(image: Tensor) -> Tensor:
        image = image.to(device, memory_format=torch.channels_last)
        return cast(RegionalOutput, model(image, region)).logits[region].argmax(1).cpu()

    predicted = torch.cat([predict(image) for image, _ in eval_batches(prepared)]).numpy()
    hit = predicted == prepared.labels
    return float(np.mean([hit[prepared.labels == label].mean() for label in np.unique(prepared.labels)]))
