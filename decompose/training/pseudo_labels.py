"""Pseudo-labels: classes that the teacher gives to images without labels, before training.

Shapes: M unlabelled images, C classes.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray

from lorkit.decompose.config.unlabelled import UnlabelledConfig
from lorkit.decompose.data.batches.evaluation_size import eval_batch_size
from lorkit.decompose.data.prepared import PreparedRegion
from lorkit.decompose.data.samples.label_table import UNCERTAIN
from lorkit.decompose.events import Listener, Notice
from lorkit.decompose.models.foundation.model import Foundation
from lorkit.decompose.models.regional import RegionalModel
from lorkit.decompose.training.training_data import TrainingData, check_pseudo_labels


def with_pseudo_labels(
    data: TrainingData, foundation: Foundation, settings: UnlabelledConfig, on_event: Listener
) -> TrainingData:
    """Label unlabelled images with the class to which the teacher gives `pseudo_labels` or more.

    Args:
        data: Prepared data; unchanged without the setting.
        foundation: The teacher, with a head or a probe for each of its regions; images of others stay as they are.
        settings: The section `unlabelled`.
        on_event: Is told how many images got a label.

    Raises:
        UsageError: A region is no classification.
    """
    if settings.pseudo_labels is None or not data.unlabelled:
        return data
    seen = data.for_teacher.unlabelled
    found: dict[str, PreparedRegion] = {}
    mine = {name: one for name, one in data.unlabelled.items() if name in foundation.model.regions.names}
    check_pseudo_labels(settings, {name: one.region.task for name, one in mine.items()})
    for name, one in mine.items():
        label_M = confident_classes(foundation.model.eval(), seen[name], name, settings.pseudo_labels)
        count = int((label_M != UNCERTAIN).sum())
        on_event(Notice(text=f"region '{name}': {count} of {len(one)} unlabelled images have a pseudo-label"))
        found[name] = replace(one, labels=label_M)
    return replace(data, unlabelled={**data.unlabelled, **found})


@torch.no_grad()
def confident_classes(model: RegionalModel, images: PreparedRegion, region: str, least: float) -> NDArray[np.int64]:
    """Return (M,) the class with a probability of `least` or more, else -1."""
    size = eval_batch_size(images.images.shape[2:])
    device = next(model.parameters()).device
    index = model.regions.index(region)
    label_M = np.full(len(images), UNCERTAIN, dtype=np.int64)
    for start in range(0, len(images), size):
        image = torch.from_numpy(np.array(images.images[start : start + size], dtype=np.float32, order="C")).to(device)
        output = model(image, torch.full((len(image),), index, device=device))
        best, found = output.logits[region].softmax(1).max(1)
        label_M[start : start + size] = torch.where(best >= least, found, UNCERTAIN).cpu().numpy()
    return label_M
