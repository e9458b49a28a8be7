"""Inference over prepared images: all outputs, or only the inputs of the scores.

Shapes: N images, C channels, K outputs per image or, for dense tasks, per pixel.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import nullcontext
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from lorkit.decompose.artifacts.arrays import Float32Array
from lorkit.decompose.data.batches.evaluation_size import eval_batch_size
from lorkit.decompose.data.prepared import PreparedRegion
from lorkit.decompose.data.preprocessing.mirroring import mirror_axis
from lorkit.decompose.errors import DataError
from lorkit.decompose.evaluation.scoring import score_inputs
from lorkit.decompose.evaluation.whole_cases import score_cases
from lorkit.decompose.models.small_maps import ready_for_batches
from lorkit.decompose.tasks import ScoreInputs, get_task

NetworkCallable = nn.Module | Callable[[Float32Array], Any]


class WithMirrored(nn.Module):
    """The mean of a network's logits for images and for their mirror images; see `preprocessing.mirroring`.

    Args:
        network: Maps (N, C, *spatial) to logits (N, K), or to maps (N, K, *spatial).
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, image: Tensor) -> Tensor:
        """Map images (N, C, *spatial) to the mean logits."""
        axis = mirror_axis(image.dim() - 2)
        logits, mirrored = self.network(image), self.network(image.flip(axis))
        mean: Tensor = (logits + (mirrored.flip(axis) if mirrored.dim() == image.dim() else mirrored)) / 2
        return mean


def predict_logits(
    network: NetworkCallable, prepared: PreparedRegion, *, batch_size: int | None = None
) -> Float32Array:
    """Run a network over prepared images and return (N, K, *spatial) float32 logits.

    Args:
        network: A module, which is set to eval mode and gets tensors on its own device, or a callable from a float32
            array (N, C, *spatial) to outputs, such as an engine's `run`.
        prepared: The images.
        batch_size: Images per forward pass; None for `eval_batch_size`.
    """
    rows = [outputs for _, outputs in _outputs(network, prepared, batch_size)]
    task, region = get_task(prepared.region.task), prepared.region
    empty = (0, task.outputs(region), *(prepared.images.shape[2:] if task.dense else ()))
    return np.concatenate(rows) if rows else np.zeros(empty, dtype=np.float32)


def collect_score_inputs(
    network: NetworkCallable, prepared: PreparedRegion, *, batch_size: int | None = None
) -> ScoreInputs:
    """Run a network and return only what its task is scored by; arguments as in `predict_logits`.

    Raises:
        DataError: There is no image, or an output is not finite.
    """
    if not len(prepared):
        raise DataError(
            f"no {prepared.region.words.case} of region '{prepared.region.name}' to measure on",
            required="at least one",
            fix="check the data",
        )
    if prepared.volumes is not None:
        return score_cases(runner(network), prepared)
    with ready_for_batches(network) if isinstance(network, nn.Module) else nullcontext():
        rows = [score_inputs(prepared, at, outputs) for at, outputs in _outputs(network, prepared, batch_size)]
    return np.concatenate(rows)


def score_validation(
    network: NetworkCallable, prepared: PreparedRegion, logits: Float32Array, *, surfaces: bool = True
) -> ScoreInputs:
    """Return what a task is scored by where the outputs of `network` on `prepared` are known already.

    Whole cases that are taken window by window are run again, because `logits` are of one window of each.
    """
    if prepared.volumes is not None:
        return score_cases(runner(network), prepared, surfaces=surfaces)
    return score_inputs(prepared, slice(None), logits, surfaces=surfaces)


def runner(network: NetworkCallable) -> Callable[[Float32Array], Float32Array]:
    """Return a network as a callable from one float32 batch to its outputs."""
    run = _run_module if isinstance(network, nn.Module) else _run_callable

    def once(batch: Float32Array) -> Float32Array:
        return next(run(network, iter([batch])))  # type: ignore[arg-type]

    return once


def _outputs(
    network: NetworkCallable, prepared: PreparedRegion, batch_size: int | None
) -> Iterator[tuple[slice, Float32Array]]:
    size = batch_size or eval_batch_size(prepared.images.shape[2:])
    places = [slice(start, start + size) for start in range(0, len(prepared), size)]
    batches = (np.array(prepared.images[at], order="C") for at in places)
    run = _run_module if isinstance(network, nn.Module) else _run_callable
    return zip(places, run(network, batches), strict=True)  # type: ignore[arg-type]


@torch.inference_mode()
def _run_module(network: nn.Module, batches: Iterator[Float32Array]) -> Iterator[Float32Array]:
    training = network.training
    network.eval()
    anything = next(network.parameters(), None)
    device = anything.device if anything is not None else torch.device("cpu")
    for batch in batches:
        yield network(torch.from_numpy(batch).to(device)).float().cpu().numpy()
    network.train(training)


def _run_callable(network: Callable[[Float32Array], Any], batches: Iterator[Float32Array]) -> Iterator[Float32Array]:
    for batch in batches:
        yield np.asarray(network(batch), dtype=np.float32)
