"""Checks of an extracted expert: it equals the live model, and has no tensors of other regions.

Shapes: N images, K outputs; `spatial` is the grid of a dense task, else empty.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
import torch
from torch import Tensor, nn

from lorkit.decompose.artifacts import digest_tensors
from lorkit.decompose.artifacts.arrays import Float32Array
from lorkit.decompose.data.prepared import PreparedRegion
from lorkit.decompose.documents.expert import Equality
from lorkit.decompose.documents.network import Decision
from lorkit.decompose.errors import ParityError, plural
from lorkit.decompose.evaluation.inference import predict_logits
from lorkit.decompose.evaluation.routed_evaluation import RunNetwork
from lorkit.decompose.models.mixtures.networks import RegionIdNetwork, RouterNetwork
from lorkit.decompose.models.ownership import owner_of
from lorkit.decompose.models.regional import RegionalModel, SeparateModels
from lorkit.decompose.tasks import get_task

TOLERANCE = 1e-3
"""Largest difference of a logit, in units of the largest logit (at least 1): float32 sums in another order."""
_MIXED, _COMPARED = 8, 64
"""Images of each region in a mixed batch, and in the comparison of all outputs."""


def check_equality(
    live: RegionalModel | SeparateModels,
    network: nn.Module,
    prepared: PreparedRegion,
    found_NK: Float32Array,
    decision: Decision | None,
) -> Equality:
    """Compare an extracted network with the live model on images of its region.

    Args:
        live: The model that it came from, routed per sample.
        network: The extracted network, named in the error.
        prepared: Images.
        found_NK: Outputs of the network, (N, K, *spatial).
        decision: Its thresholds, by which its outputs become labels; None for a task without.

    Returns:
        `n`, `max_abs_difference`, `tolerance`, `label_flips` (of images, or of pixels), and whether the inputs were
        `real` or `phantom`.

    Raises:
        ParityError: A logit differs by more than the tolerance.
    """
    region = prepared.region.name
    expected_NK = predict_logits(_Routed(live, region), prepared)
    difference = float(np.abs(found_NK - expected_NK).max()) if len(found_NK) else 0.0
    tolerance = TOLERANCE * max(1.0, float(np.abs(expected_NK).max(initial=0.0)))
    cut_K = 0.0 if decision is None else np.asarray(decision.cuts(prepared.region.classes), np.float32)
    if get_task(prepared.region.task).exclusive:
        flipped_N = (found_NK - cut_K).argmax(1) != (expected_NK - cut_K).argmax(1)
    else:
        flipped_N = ((found_NK > cut_K) != (expected_NK > cut_K)).any(1)
    if not difference <= tolerance:  # written so that a NaN fails
        raise ParityError(
            f"{type(network).__name__} of region '{region}' differs from the trained model by {difference:.3g}"
            f" ({int(flipped_N.sum())} of {flipped_N.size} labels change)",
            required=f"at most {tolerance:.3g}",
            fix="train again, or report the backbone: its layers do not merge",
        )
    return Equality(
        n=len(found_NK),
        max_abs_difference=difference,
        tolerance=tolerance,
        label_flips=int(flipped_N.sum()),
        inputs="phantom" if prepared.region.synthetic else "real",
        split="val",
    )


@torch.no_grad()
def check_mixed_batch(live: RegionalModel, network: RegionIdNetwork, val: Mapping[str, PreparedRegion]) -> None:
    """Compare a network by region id with the live model on one batch of all regions, in turn.

    Raises:
        ParityError: A logit of a row's own head differs by more than the tolerance.
    """
    rows = [(at, image) for at, one in enumerate(val.values()) for image in np.array(one.images[:_MIXED])]
    rows = [rows[place] for place in np.random.default_rng(0).permutation(len(rows))]
    image, region = torch.from_numpy(np.stack([image for _, image in rows])), torch.tensor([at for at, _ in rows])
    expected, found = live(image, region), network(image, region)
    for name, logits in zip(val, found, strict=True):
        if name in expected.rows:
            _require_close(name, logits[expected.rows[name]].numpy(), expected.logits[name].numpy())


def check_outputs(expected: RunNetwork, network: RouterNetwork, val: Mapping[str, PreparedRegion]) -> None:
    """Compare every output of a router with what the live model gives, on images of each region.

    Args:
        expected: The live model.
        network: The extracted network.
        val: Images by region.

    Raises:
        ParityError: A value differs by more than the tolerance.
    """
    for one in val.values():
        images = np.array(one.images[:_COMPARED])
        wanted = expected(images)
        with torch.no_grad():
            found = dict(zip(network.output_names, network(torch.from_numpy(images)), strict=True))
        for name, value in wanted.items():
            _require_close(name, found[name].numpy(), value)


def _require_close(name: str, found: Float32Array, expected: Float32Array) -> None:
    difference = float(np.abs(found - expected).max(initial=0.0))
    tolerance = TOLERANCE * max(1.0, float(np.abs(expected).max(initial=0.0)))
    if not difference <= tolerance:  # written so that a NaN fails
        raise ParityError(
            f"'{name}' of the extracted network differs from the trained model by {difference:.3g}",
            required=f"at most {tolerance:.3g}",
            fix="train again, or report the backbone: its layers are not those of the trained model",
        )


def foreign_tensors(
    live: nn.Module,
    network: nn.Module,
    region: str,
    regions: tuple[str, ...],
    common: nn.Module | None = None,
    *,
    same_start: bool = False,
) -> list[str]:
    """Return the tensors of a network that equal one of another region, and keys that name one.

    Tensors of one repeated value (a counter, a bias of zeros) identify no region and are ignored, as are tensors of
    `common`, the common start of all regions, some of which were frozen. With `same_start` all regions started from
    the same weights, published ones or those of a frozen student, so what the region's own part of the live model
    equals is its own too.
    """
    others = set(regions) - {region}
    shared = {digest for _, digest in _digests(common)} if common is not None else set()
    tensors = list(_digests(live))
    if same_start:
        shared |= {digest for key, digest in tensors if owner_of(key, {region}) is not None}
    theirs = {digest for key, digest in tensors if owner_of(key, others) is not None} - shared
    return [key for key, digest in _digests(network) if digest in theirs or owner_of(key, others) is not None]


def check_no_foreign_tensors(
    live: nn.Module,
    network: nn.Module,
    region: str,
    regions: tuple[str, ...],
    common: nn.Module | None = None,
    *,
    same_start: bool = False,
) -> None:
    """Raise ParityError if a network has a tensor of another region."""
    found = foreign_tensors(live, network, region, regions, common, same_start=same_start)
    if found:
        raise ParityError(
            f"the network of region '{region}' holds {plural(len(found), 'tensor')} of other regions, "
            f"such as '{found[0]}'",
            required="nothing of other regions",
            fix="report the backbone: its modules were not separated by region",
        )


class _Routed(nn.Module):
    def __init__(self, live: RegionalModel | SeparateModels, region: str) -> None:
        super().__init__()
        self.live, self.region = live, region

    def forward(self, image: Tensor) -> Tensor:
        return self.live(image, self.region).logits[self.region]  # type: ignore[no-any-return]


def _digests(module: nn.Module) -> Iterator[tuple[str, str]]:
    for key, value in module.state_dict().items():
        if value.numel() and bool((value != value.flatten()[0]).any()):
            yield key, digest_tensors({"": value})
