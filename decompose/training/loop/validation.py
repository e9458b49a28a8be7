"""The validation score by which the best epoch is chosen."""

from __future__ import annotations

from typing import cast

import numpy as np
import torch
from torch import Tensor

from lorkit.decompose.data.batches.loader import eval_batches
from lorkit.decompose.data.prepared import PreparedRegion
from lorkit.decompose.models.regional import RegionalModel, RegionalOutput
from lorkit.decompose.tasks import get_task, headline
from lorkit.decompose.training.loop.devices import memory_format


@torch.no_grad()
def validation_score(model: RegionalModel, prepared: PreparedRegion, region: str, device: torch.device) -> float:
    """Return the validation metric of a region's task on its validation part, over the classes or structures present.

    Masks are compared at the network's size, which costs no resampling in each epoch: `dice_network_grid`.
    """
    task = get_task(prepared.region.task)

    def predict(image: Tensor) -> Tensor:
        image = image.to(device, memory_format=memory_format(image.dim()))
        return cast(RegionalOutput, model(image, region)).logits[region].float().cpu()

    rows = [task.score_inputs(predict(image).numpy(), target.numpy()) for image, target in eval_batches(prepared)]
    return headline(task.scores_by_case(prepared.region, prepared.targets, np.concatenate(rows)))
