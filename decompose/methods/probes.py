"""Linear probes: heads on the features of a frozen foundation for regions without a head.

Shapes: N samples (for a dense task: sampled pixels), F features, C classes.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lorkit.decompose.artifacts.arrays import IGNORED, IGNORED_BIT
from lorkit.decompose.data.batches.loader import eval_batches
from lorkit.decompose.data.prepared import PreparedRegion
from lorkit.decompose.events import Listener, Working, ignore
from lorkit.decompose.metrics.multilabel import scores_by_case
from lorkit.decompose.models.backbones.registry import new_head
from lorkit.decompose.models.regional import RegionalModel
from lorkit.decompose.regions import Region
from lorkit.decompose.tasks import get_task, headline
from lorkit.decompose.tasks.losses import masked_binary_cross_entropy

# Ridge strengths; the one with the best headline metric on validation is used.
PIXELS = 40_000
STRENGTHS = (1e-3, 1e-2, 1e-1, 1.0)


@torch.no_grad()
def features_of(
    model: RegionalModel, prepared: PreparedRegion, region: str, on_event: Listener = ignore
) -> tuple[Tensor, Tensor]:
    """Return features (N, F) and labels (N,) or (N, L) of a prepared region, on the CPU.

    For a dense task they are those of pixels: per image equally many of every structure and of the background, at most
    `PIXELS` in all, drawn reproducibly. Where structures may overlap, (N, S) says which are there, and equally many are
    of every combination.
    """
    model.eval()
    device = next(model.parameters()).device
    task = get_task(prepared.region.task)
    most = max(1, PIXELS // max(1, len(prepared)))
    generator = torch.Generator().manual_seed(0)
    pairs: list[tuple[Tensor, Tensor]] = []
    done = 0
    for image, target in eval_batches(prepared):
        on_event(Working(f"probing {region}", done, len(prepared)))
        feature = model.features(image.to(device), region).cpu()
        if task.dense:
            sampled, values = _sampled(feature, target, most, generator)
            pairs.append((sampled, values if task.exclusive else _bits(values, task.outputs(prepared.region))))
        else:
            pairs.append((feature, target))
        done += len(image)
    return torch.cat([feature for feature, _ in pairs]), torch.cat([label for _, label in pairs])


def probe_for(
    model: RegionalModel, region: Region, train: PreparedRegion, val: PreparedRegion, on_event: Listener = ignore
) -> nn.Module:
    """Return a head for a region on a model's frozen features: linear, or a 1x1 convolution for a dense task."""
    task = get_task(region.task)
    known = features_of(model, train, region.name, on_event)
    head = fit_probe(known, features_of(model, val, region.name, on_event), task.outputs(region))
    if not task.dense:
        return head
    kernel = new_head(model.backbone, task.outputs(region), maps=True).requires_grad_(False)
    kernel.load_state_dict({"weight": head.weight.view_as(kernel.get_parameter("weight")), "bias": head.bias})
    return kernel


def _sampled(feature: Tensor, target: Tensor, most: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Sample pixels of (n, F, *spatial) and (n, *spatial), up to `most` per image, evenly over the values present."""
    features, labels = [], []
    for feature_FP, label_P in zip(feature.flatten(2), target.flatten(1), strict=True):
        values = [value for value in label_P.unique().tolist() if value != IGNORED and not value & IGNORED_BIT]
        for value in values:
            places = (label_P == value).nonzero()[:, 0]
            chosen = places[torch.randperm(len(places), generator=generator)[: max(1, most // len(values))]]
            features.append(feature_FP[:, chosen].T)
            labels.append(label_P[chosen])
    return torch.cat(features), torch.cat(labels)


def _bits(value_P: Tensor, structures: int) -> Tensor:
    """Return (P, S): 1 where a structure is, else 0."""
    return (value_P[:, None] >> torch.arange(structures)) & 1


def fit_probe(train: tuple[Tensor, Tensor], val: tuple[Tensor, Tensor], classes: int) -> nn.Linear:
    """Fit logistic regression on standardised features, its ridge chosen on validation.

    It is multinomial and class-balanced for labels (N,), and one regression per label, on the samples for which it is
    known, for (N, L).

    Returns:
        A linear layer on the raw features, with the standardisation folded into it.
    """
    feature_NF, label_N = train
    mean_F, std_F = feature_NF.mean(0), feature_NF.std(0).clamp_min(1e-6)
    candidates = [_fit((feature_NF - mean_F) / std_F, label_N, classes, strength) for strength in STRENGTHS]
    layers = [_fold(weight, bias, mean_F, std_F) for weight, bias in candidates]
    measure = _balanced_accuracy if val[1].dim() == 1 else _macro_auroc
    scores = [measure(layer(val[0]), val[1]) for layer in layers]
    return layers[scores.index(max(scores))]


def _fit(feature_NF: Tensor, label_N: Tensor, classes: int, strength: float) -> tuple[Tensor, Tensor]:
    weight_CF = torch.zeros(classes, feature_NF.shape[1], requires_grad=True)
    bias_C = torch.zeros(classes, requires_grad=True)
    loss_of = _balanced_entropy(label_N, classes) if label_N.dim() == 1 else _known_entropy(label_N)
    optimizer = torch.optim.LBFGS([weight_CF, bias_C], max_iter=100, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = loss_of(feature_NF @ weight_CF.T + bias_C)
        loss = loss + 0.5 * strength * weight_CF.square().sum() / classes
        loss.backward()  # type: ignore[no-untyped-call]
        return loss

    optimizer.step(closure)  # type: ignore[no-untyped-call]
    return weight_CF.detach(), bias_C.detach()


def _balanced_entropy(label_N: Tensor, classes: int) -> Callable[[Tensor], Tensor]:
    balance_C = len(label_N) / (classes * torch.bincount(label_N, minlength=classes).clamp_min(1))
    return lambda logit_NC: F.cross_entropy(logit_NC, label_N, weight=balance_C.float())


def _known_entropy(label_NL: Tensor) -> Callable[[Tensor], Tensor]:
    return lambda logit_NL: masked_binary_cross_entropy(logit_NL, label_NL).mean()


def _fold(weight_CF: Tensor, bias_C: Tensor, mean_F: Tensor, std_F: Tensor) -> nn.Linear:
    layer = nn.Linear(weight_CF.shape[1], weight_CF.shape[0]).requires_grad_(False)
    layer.weight.copy_(weight_CF / std_F)
    layer.bias.copy_(bias_C - (weight_CF / std_F) @ mean_F)
    return layer


def _balanced_accuracy(logit_NC: Tensor, label_N: Tensor) -> float:
    hit = (logit_NC.argmax(1) == label_N).double()
    return float(torch.stack([hit[label_N == label].mean() for label in set(label_N.tolist())]).mean())


def _macro_auroc(logit_NL: Tensor, label_NL: Tensor) -> float:
    found = headline(scores_by_case(label_NL.numpy(), logit_NL.numpy()))
    return found if math.isfinite(found) else 0.5  # validation judges no label: all ridges are equal
