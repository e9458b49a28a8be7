"""Parity of an engine with its source network: largest error, error relative to the margin, label flips.

A classifier makes one decision per image, a segmenter one per pixel, a multilabel network one per label; they are
compared decision by decision, in batches.

Shapes: N images, C outputs, P decisions per image (1, or the pixels of a map); images are (N, channels, *spatial),
outputs (N, C) or (N, C, *spatial).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from lorkit.decompose.artifacts.arrays import Float32Array, Ints, Mask
from lorkit.decompose.documents.verify import ImageKind, ParityFigures, ProvenParity
from lorkit.decompose.errors import ParityError, plural
from lorkit.decompose.metrics.segmentation import mask_dice

BATCHES = (1, 3, 8)

# Largest allowed error as a fraction of the largest logit (at least 1). fp32 has 24 bits, 6e-8; an engine adds in
# another order, folds batch norms and fuses layers, which over the few thousand terms of a layer and some fifty
# layers costs two to three digits. Measured on ResNets, ViTs and 3D U-Nets: up to 2e-6. fp16 holds 11 bits, bf16 8;
# int8 has 256 steps per layer; the error depends on the network: measured 0.01 to 0.06 (typical error).
TOLERANCES = {"fp32": 5e-5, "fp16": 5e-3, "bf16": 4e-2, "int8": 0.25}

# Fraction of decisions that may differ from the source's; one always may, since two classes can tie. In fp32 the
# error suffices: a label flips only if two classes tie.
FLIP_RATES = {"fp32": 1.0, "fp16": 0.01, "bf16": 0.02, "int8": 0.05}


@dataclass(frozen=True, kw_only=True)
class ReferenceImages:
    """Images to run networks on.

    Attributes:
        images: (N, C, *spatial).
        kind: "real", "phantom" or "seeded".
        masks: (N, *spatial) uint8 true masks; None without any.
        labels: (N,) index of each image's class, for a classifier; None if unknown.
    """

    images: Float32Array = field(repr=False)
    kind: ImageKind
    masks: Mask | None = None
    labels: Ints | None = None


def tolerance_of(precision: str, reference: Float32Array) -> float:
    """Return the largest allowed error for these reference logits; ParityError for an unknown precision."""
    if precision not in TOLERANCES:
        raise ParityError(
            f"no tolerance for precision '{precision}'", required=f"one of {', '.join(TOLERANCES)}", fix="use fp32"
        )
    return TOLERANCES[precision] * max(1.0, float(np.abs(reference).max()))


def in_batches(run: Callable[[Float32Array], Float32Array], images: Float32Array, batch: int) -> Float32Array:
    """Run all images in batches and return (N, C) or (N, C, *spatial).

    Raises:
        ParityError: The engine returned another number of rows than images.
    """
    return np.concatenate([found for _, found in _each(run, images, batch)])


def measure_parity(
    run: Callable[[Float32Array], Float32Array],
    images: Float32Array,
    reference: Float32Array,
    *,
    precision: str,
    inputs: ImageKind,
    batches: Sequence[int] = BATCHES,
    cuts: Sequence[float] | None = None,
) -> ProvenParity:
    """Run images through an engine at several batch sizes and compare with the source's logits.

    `cuts` are the logits above which outputs of a multilabel network are positive; None: the largest output decides.
    """
    tolerance = tolerance_of(precision, reference)
    sizes = batch_sizes(batches, reference)
    found_BN4 = np.stack([_differences(run, images, reference, size, tolerance, cuts) for size in sizes])
    error_N, share_N, flips_N, dice_N = np.moveaxis(found_BN4.max(axis=0), -1, 0)
    decisions = reference[:, 0].size if cuts is None else reference.size
    error, flip_rate = float(error_N.max()), float(found_BN4[..., 2].sum(axis=1).max()) / decisions
    flip_limit = max(1, int(FLIP_RATES[precision] * decisions)) / decisions
    return ProvenParity(
        status="passed" if error <= tolerance and flip_rate <= flip_limit else "failed",
        max_abs=error if np.isfinite(error) else None,
        tolerance=tolerance,
        of_margin=float(share_N.max()) if np.isfinite(share_N.max()) else None,
        label_flips=int((flips_N > 0).sum()),
        flip_rate=flip_rate,
        flip_limit=flip_limit,
        dice=1.0 - float(dice_N.max()) if reference.ndim > 2 else None,
        n=len(images),
        batches=list(sizes),
        inputs=inputs,
    )


def batch_sizes(batches: Sequence[int], reference: Float32Array) -> tuple[int, ...]:
    """Return the batch sizes to run, limited to the number of images, which is small for maps."""
    if reference.ndim == 2:
        return tuple(batches)
    return tuple(dict.fromkeys(min(batch, len(reference)) for batch in batches))


def _each(
    run: Callable[[Float32Array], Float32Array], images: Float32Array, batch: int
) -> Iterator[tuple[slice, Float32Array]]:
    for start in range(0, len(images), batch):
        part = slice(start, start + batch)
        given = np.ascontiguousarray(images[part])
        found = run(given)
        if len(found) != len(given):
            raise ParityError(
                f"the engine returned {plural(len(found), 'row')} for {plural(len(given), 'image')}",
                required="one row per image: a free batch size",
                fix="export it again with --force",
            )
        yield part, found


def _differences(
    run: Callable[[Float32Array], Float32Array],
    images: Float32Array,
    reference: Float32Array,
    batch: int,
    tolerance: float,
    cuts: Sequence[float] | None,
) -> Float32Array:
    """Return (N, 4): largest error, its largest share of a margin, flipped decisions, and 1 - Dice of the masks."""
    rows: list[tuple[float, float, float, float]] = []
    for part, found in _each(run, images, batch):
        if found.shape[1:] != reference.shape[1:]:
            raise ParityError(
                f"the engine returned outputs of shape {found.shape[1:]}",
                required=f"{reference.shape[1:]}, as its source network",
                fix="export it again with --force",
            )
        pairs = zip(found, reference[part], strict=True)
        maps = reference.ndim > 2
        rows += [
            _difference(_decisions(one, cuts), _decisions(other, cuts), tolerance, maps=maps) for one, other in pairs
        ]
    return np.array(rows)


def _decisions(logits: Float32Array, cuts: Sequence[float] | None) -> Float32Array:
    """Return the outputs of one image, (C,) or (C, *spatial), as (C, P); two per label of a multilabel network."""
    if cuts is None:
        return logits.reshape(len(logits), -1)
    above = logits - np.asarray(cuts, dtype=np.float32)
    return np.stack([np.zeros_like(above), above])


def _difference(
    found_CP: Float32Array, reference_CP: Float32Array, tolerance: float, *, maps: bool
) -> tuple[float, float, float, float]:
    """Compare the outputs of one image; of maps also the Dice of their masks."""
    error_P = np.abs(found_CP - reference_CP).max(axis=0)
    # comparisons with NaN are false, so count it as the largest error
    error_P = np.where(np.isfinite(error_P), error_P, np.inf)
    second_P, first_P = np.partition(reference_CP, -2, axis=0)[-2:]
    share = float((error_P / np.maximum(first_P - second_P, tolerance)).max())
    best_P, wanted_P = found_CP.argmax(axis=0), reference_CP.argmax(axis=0)
    lost = 0.0
    if maps:
        overlap_S = mask_dice(best_P, wanted_P, len(reference_CP) - 1)
        lost = 1.0 - float(np.nanmean(overlap_S)) if np.isfinite(overlap_S).any() else 0.0
    return float(error_P.max()), share, float((best_P != wanted_P).sum()), lost


def require_parity(parity: ProvenParity, what: str) -> None:
    """Raise ParityError, with the error, the tolerance and the changed labels, unless the comparison passed."""
    if not parity.passed:
        raise ParityError(
            f"{what} differs from its source by {parity.error:.3g} with {describe_flips(parity)} "
            f"on {plural(parity.n, f'{parity.inputs} input')}",
            required=f"at most {parity.tolerance:.3g}, and {parity.flip_limit:.2g} of all decisions changed",
            fix="nothing was kept; report the backbone and target",
        )


def describe_flips(found: ParityFigures) -> str:
    """Return in words how many decisions of a comparison differ: labels of images, or pixels of masks."""
    if found.dice is None:
        return plural(found.label_flips, "changed label")
    return f"{found.flip_rate:.2g} of all pixels changed (lowest Dice {found.dice:.4f})"


def seeded_inputs(shape: Sequence[int], count: int, *, seed: int = 0) -> Float32Array:
    """Return (count, *shape) random float32 in [0, 1], for when images cannot be read or stored.

    A coarse pattern with fine noise, so that deep layers get structure and not an average.
    """
    generator = np.random.default_rng(seed)
    channels, *spatial = shape
    coarse = generator.random((count, channels, *(-(-side // 8) for side in spatial)), dtype=np.float32)
    for axis, side in enumerate(spatial, start=2):
        coarse = np.repeat(coarse, 8, axis=axis).take(range(side), axis=axis)
    fine = generator.random((count, *shape), dtype=np.float32)
    return np.ascontiguousarray(0.75 * coarse + 0.25 * fine, dtype=np.float32)
