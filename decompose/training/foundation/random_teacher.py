"""A teacher that knows nothing: the foundation's architecture with fresh random weights, a control of distillation.

What a student gains from it needs no knowledge of the foundation: it is the effect of one more loss, or of features
that any network of this architecture has. So that only the knowledge differs:

- Running statistics (batch norms) are those of training images, as a trained network's are. With their initial values,
  0 and 1, the features of a deep network in eval mode vanish or grow from layer to layer, and the control would be of a
  broken network. Images are enough, labels are not used.
- Every region has a linear probe that is fitted on the training part, also where the foundation has a head of its own,
  which is fitted to labels too. Terms that the foundation's own head teaches are then taught by the probe, so that both
  trainings have the same terms.
- The weights follow from the seed of the training: those of several seeds are several random networks, so that an
  interval over seeds covers them.

Shape legend: N images, C channels.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor
from torch.nn.modules.batchnorm import _NormBase

from lorkit.decompose.artifacts import digest_json
from lorkit.decompose.config import Config
from lorkit.decompose.data.batches.evaluation_size import eval_batch_size
from lorkit.decompose.data.prepared import PreparedRegion
from lorkit.decompose.errors import UsageError
from lorkit.decompose.events import Listener, Notice
from lorkit.decompose.methods.probes import probe_for
from lorkit.decompose.models.foundation.model import Foundation
from lorkit.decompose.models.regional import RegionalModel
from lorkit.decompose.training.foundation.resolving import new_foundation
from lorkit.decompose.training.training_data import TrainingData

REVISION = 1
"""Increment when the same settings would give another random teacher: stored trainings are then repeated."""
IMAGES = 1024
"""Images of all regions together that running statistics are taken from."""
_BATCH = 64
NO_RANDOM_TEACHER = "the foundation is the user's own network, for which lorkit cannot draw new weights"
"""Why there is no random teacher of an ONNX file or a module."""


def random_teacher(config: Config, foundation: Foundation, data: TrainingData, on_event: Listener) -> Foundation:
    """Return a network of the foundation's architecture with random weights and a probe for each region.

    Args:
        config: Settings of the training; the seed decides the weights.
        foundation: The foundation, with a head for every region.
        data: The regions with the training parts that the student sees.
        on_event: Receives a notice, and the progress of the probes.

    Raises:
        UsageError: The foundation is the user's own network.
    """
    if foundation.is_teacher:
        raise UsageError(
            "a random teacher in place of an ONNX file or a module",
            required=f"a foundation that lorkit builds: {NO_RANDOM_TEACHER}",
            fix="compare without this control",
        )
    seen = data.for_teacher
    with torch.random.fork_rng(devices=[]):
        # not the seed itself: a student of the same architecture would begin with the same weights
        torch.manual_seed(int(digest_json({"random teacher": config.seed})[:8], 16))
        model = new_foundation(config, data.regions).model
        norms = calibrate_(model, seen.train, config.seed)
        statistics = f", running statistics of {norms} layers from training images" if norms else ""
        on_event(Notice(text=f"a random {foundation.backbone} teaches{statistics}; its heads are linear probes"))
        for region in data.regions:
            name = region.name
            model.heads[name] = probe_for(model, region, seen.train[name], seen.val[name], on_event)
    heads = {name: foundation.heads[name] for name in data.regions.names}
    source = {"random": config.seed}
    return replace(foundation, model=model.eval(), regions=data.regions, heads=heads, source=source)


@torch.no_grad()
def calibrate_(model: RegionalModel, train: Mapping[str, PreparedRegion], seed: int) -> int:
    """Set running statistics to the means over batches of images of all regions, in place.

    Args:
        model: A network without experts; it is in eval mode afterwards.
        train: By region, images of equal size. Each gives equally many, up to `IMAGES` together.
        seed: Chooses and mixes them.

    Returns:
        The number of layers with running statistics.
    """
    model.eval()
    norms = [one for one in model.backbone.modules() if isinstance(one, _NormBase) and one.running_mean is not None]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # the mean over all batches
        norm.train()
    for image_NC in _mixed(train, seed) if norms else ():
        model.backbone(model.normalise(image_NC))
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    model.eval()
    return len(norms)


def _mixed(train: Mapping[str, PreparedRegion], seed: int) -> Iterator[Tensor]:
    """Yield batches of at least two images, in which the regions are mixed."""
    generator = np.random.default_rng(seed)
    parts = list(train.values())
    most = max(2, IMAGES // len(parts))
    chosen = [(one, int(at)) for one in parts for at in generator.permutation(len(one))[:most]]
    order = generator.permutation(len(chosen))
    size = max(2, min(_BATCH, eval_batch_size(parts[0].images.shape[2:])))
    for rows in np.array_split(order, max(1, len(order) // size)):
        yield torch.from_numpy(np.stack([chosen[row][0].images[chosen[row][1]] for row in rows]).astype(np.float32))
