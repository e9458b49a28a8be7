"""Terms on the logits of student and teacher, which several methods share: divergence, also standardised, and DIST.

Shapes: n samples, K outputs; `spatial` is the grid of a dense task, else empty.
"""

from __future__ import annotations

from torch import Tensor

from lorkit.decompose.config.methods import DistConfig, LogitKdConfig
from lorkit.decompose.errors import UsageError
from lorkit.decompose.methods.losses.relational import correlation_losses
from lorkit.decompose.regions import Region
from lorkit.decompose.tasks import Task, get_task
from lorkit.decompose.tasks.losses import wide

_LEAST_OUTPUTS = 3
_EPSILON = 1e-7


def divergence(task: Task, student: Tensor, teacher: Tensor, settings: LogitKdConfig) -> Tensor:
    """Return T^2 KL(teacher || student) of each sample, (n,), of logits (n, K, *spatial).

    With `standardise`, both are first standardised (`standardised`).
    """
    if settings.standardise:
        student, teacher = standardised(student), standardised(teacher)
    return task.divergence(student, teacher, settings.temperature)


def standardised(logit_nK: Tensor) -> Tensor:
    """Return logits with mean 0 and standard deviation 1 over the K outputs of each sample or pixel.

    A student then learns the order and the relations of the teacher's logits and not their size, which small networks
    cannot match. Sun et al., Logit Standardization in Knowledge Distillation (CVPR 2024), eq. 8.
    """
    logit_nK = wide(logit_nK)
    centred = logit_nK - logit_nK.mean(1, keepdim=True)
    return centred / (centred.square().mean(1, keepdim=True).sqrt() + _EPSILON)


def correlations(task: Task, student: Tensor, teacher: Tensor, settings: DistConfig) -> dict[str, Tensor]:
    """Return the terms inter and intra of DIST with a weight above zero, weighted means over samples and pixels."""
    weights = {"inter": settings.inter, "intra": settings.intra}
    if not any(weights.values()):
        return {}
    x, y = (side.movedim(1, -1).flatten(0, -2) for side in (student, teacher))
    values = correlation_losses(x, y, settings.temperature, exclusive=task.exclusive)
    return {term: weight * value for (term, weight), value in zip(weights.items(), values, strict=True) if weight}


def check_logits(key: str, settings: LogitKdConfig, region: Region) -> None:
    """Raise UsageError if logits of a region cannot be standardised.

    Args:
        key: Section of the settings.
        settings: Of a divergence.
        region: The region.
    """
    task = get_task(region.task)
    if settings.standardise and settings.weight and (not task.exclusive or task.outputs(region) < _LEAST_OUTPUTS):
        what = f"{task.outputs(region)} outputs" if task.exclusive else f"task {region.task}"
        raise UsageError(
            f"{key}.standardise for region '{region.name}' of {what}",
            required="three or more outputs of one softmax: two standardised logits are always 1 and -1",
            fix=f"leave {key}.standardise out",
        )
