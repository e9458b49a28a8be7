"""Parity of an engine with its source network: largest error, error relative to the margin, label flips.

A classifier makes one decision per image, a segmenter one per pixel, a multilabel network one per label, a network of
nodes one per node, by its threshold; they are compared decision by decision, in batches.

Shapes: N images, C outputs, P decisions per image (1, or the pixels of a map); images are (N, channels, *spatial),
outputs (N, C) or (N, C, *spatial).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING

import numpy as np

from lorkit.decompose.artifacts.arrays import Float32Array, Floats, Ints
from lorkit.decompose.artifacts.masks import join_structures
from lorkit.decompose.documents.base import narrow
from lorkit.decompose.documents.heads import IMAGE, LOGITS
from lorkit.decompose.documents.verify import ImageKind, ParityFigures, ProvenParity
from lorkit.decompose.errors import ParityError, plural
from lorkit.decompose.metrics.segmentation import mask_dice
from lorkit.export.runtime.comparison_rules import BATCHES, Rule
from lorkit.export.targets.base import batches as in_batches
from lorkit.export.targets.base import joined

if TYPE_CHECKING:
    from lorkit.export.targets.base import Inputs, Outputs

# Largest allowed error as a fraction of the largest logit (at least 1). fp32 has 24 bits, 6e-8; an engine adds in
# another order, folds batch norms and fuses layers, which over the few thousand terms of a layer and some fifty
# layers costs two to three digits. Measured on ResNets, ViTs and 3D U-Nets: up to 2e-6. fp16 holds 11 bits, bf16 8;
# int8 has 256 steps per layer; the error depends on the network: measured 0.01 to 0.06 (typical error).
TOLERANCES = {"fp32": 5e-5, "fp16": 5e-3, "bf16": 4e-2, "int8": 0.25}

# In fp32 the error is also held against the rounding noise of engine and source on the same inputs (`pair_noise`).
# Measured on CNNs, ViTs and U-Nets in 2D and 3D, with ONNX Runtime and OpenVINO: 0.3 to 0.9 of it. Where it is small by
# chance, 32 of the last binary places of the largest logit are allowed, about the 2e-6 above.
_TIMES_NOISE, _LAST_PLACES = 3.0, 32 * 2.0**-24

# Fraction of decisions that may differ from the source's; one always may, since two classes can tie. In fp32 the
# error suffices: a label flips only if two classes tie.
FLIP_RATES = {"fp32": 1.0, "fp16": 0.01, "bf16": 0.02, "int8": 0.05}


def tolerance_of(precision: str, reference: Float32Array, noise: float | None = None) -> float:
    """Return the largest allowed error for these reference logits; ParityError for an unknown precision.

    `noise` is the rounding noise of engine and source, which lowers that of fp32; None if it was not measured.
    """
    if precision not in TOLERANCES:
        raise ParityError(
            f"no tolerance for precision '{precision}'", required=f"one of {', '.join(TOLERANCES)}", fix="use fp32"
        )
    largest = float(np.abs(reference).max())
    limit = TOLERANCES[precision] * max(1.0, largest)
    if noise is None or precision != "fp32" or not np.isfinite(noise):
        return limit
    return min(limit, max(_TIMES_NOISE * noise + _LAST_PLACES * largest, float(np.finfo(np.float32).tiny)))


def measure_parity(
    run: Callable[[Float32Array], Float32Array],
    images: Float32Array,
    reference: Float32Array,
    *,
    precision: str,
    inputs: ImageKind,
    batches: Sequence[int] = BATCHES,
    cuts: Sequence[float] | None = None,
    offsets: Sequence[float] | None = None,
) -> ProvenParity:
    """Run images through an engine at several batch sizes and compare with the source's logits.

    `cuts` are the logits above which outputs of a multilabel network are positive; None: the largest output decides,
    after `offsets` are subtracted, if there are any.
    """
    found = measure_outputs(
        lambda given: {LOGITS: run(given[IMAGE])},
        {IMAGE: images},
        {LOGITS: reference},
        {LOGITS: Rule(cuts, offsets=offsets)},
        precision=precision,
        kind=inputs,
        batches=batches,
    )
    return found[LOGITS]


def measure_outputs(
    infer: Callable[[Inputs], Outputs],
    inputs: Inputs,
    reference: Outputs,
    rules: Mapping[str, Rule],
    *,
    precision: str,
    kind: ImageKind,
    batches: Sequence[int] = BATCHES,
    noise: Mapping[str, float] | None = None,
) -> dict[str, ProvenParity]:
    """Run inputs through an engine at several batch sizes and compare each output with the source's.

    `noise` is the rounding noise of the two by output, from `pair_noise`; None if it was not measured.

    Raises:
        ParityError: An output is missing, or has another shape or another number of rows.
    """
    rounding = noise or {}
    tolerances = {name: tolerance_of(precision, reference[name], rounding.get(name)) for name in rules}
    sizes = batch_sizes(batches, reference, rules)
    tried = [_differences(infer, inputs, reference, rules, size, tolerances) for size in sizes]
    return {
        name: _figures(
            np.stack([one[name] for one in tried]),
            reference[name],
            rule,
            tolerance=tolerances[name],
            flip_rate=FLIP_RATES[precision],
            batches=list(sizes),
            inputs=kind,
        )
        for name, rule in rules.items()
    }


def worst_parity(outputs: Mapping[str, ProvenParity]) -> ProvenParity:
    """Return the parity of all outputs of a network: passed if each has, with the figures of the worst.

    Of several outputs, the figures of each are kept by name.
    """
    worst = max(outputs.values(), key=lambda found: found.error / found.tolerance)
    if len(outputs) == 1:
        return worst
    return worst.with_changes(
        status="passed" if all(found.passed for found in outputs.values()) else "failed",
        label_flips=max(found.label_flips for found in outputs.values()),
        flip_rate=max(found.flip_rate for found in outputs.values()),
        dice=min((found.dice for found in outputs.values() if found.dice is not None), default=None),
        by_output={name: narrow(ParityFigures, found) for name, found in outputs.items()},
    )


def _figures(
    found_BN4: Float32Array,
    reference: Float32Array,
    rule: Rule,
    *,
    tolerance: float,
    flip_rate: float,
    batches: list[int],
    inputs: ImageKind,
) -> ProvenParity:
    counted_N = np.ones(len(reference), np.bool_) if rule.counted_N is None else rule.counted_N
    found_BN4[:, ~counted_N, 2 if rule.everywhere else 0 :] = 0.0
    error_N, share_N, flips_N, dice_N = np.moveaxis(found_BN4.max(axis=0), -1, 0)
    each = _as_columns(reference[:1], rule)
    decisions = max(1, int(counted_N.sum()) * (each[:, 0].size if rule.cuts is None else each.size))
    error, flipped = float(error_N.max()), float(found_BN4[..., 2].sum(axis=1).max()) / decisions
    flip_limit = max(1, int(flip_rate * decisions)) / decisions
    return ProvenParity(
        status="passed" if error <= tolerance and flipped <= flip_limit else "failed",
        max_abs=error if np.isfinite(error) else None,
        tolerance=tolerance,
        of_margin=float(share_N.max()) if np.isfinite(share_N.max()) else None,
        label_flips=int((flips_N > 0).sum()),
        flip_rate=flipped,
        flip_limit=flip_limit,
        dice=1.0 - float(dice_N.max()) if each.ndim > 2 else None,
        n=len(reference),
        batches=batches,
        inputs=inputs,
    )


def batch_sizes(
    batches: Sequence[int], reference: Outputs, rules: Mapping[str, Rule] = MappingProxyType({})
) -> tuple[int, ...]:
    """Return the batch sizes to run, limited to the number of images, which is small for maps."""
    shapes = [_as_columns(values[:1], rules.get(name, Rule())).ndim for name, values in reference.items()]
    if max(shapes) == 2:
        return tuple(batches)
    count = len(next(iter(reference.values())))
    return tuple(dict.fromkeys(min(batch, count) for batch in batches))


def infer_all(infer: Callable[[Inputs], Outputs], inputs: Inputs, batch: int) -> Outputs:
    """Run all images in batches and return every output by name.

    Raises:
        ParityError: The engine returned another number of rows than images.
    """
    return joined([found for _, found in _each(infer, inputs, batch)])


def _each(infer: Callable[[Inputs], Outputs], inputs: Inputs, batch: int) -> Iterator[tuple[slice, Outputs]]:
    for part, rows in in_batches(inputs, batch):
        given = {name: np.ascontiguousarray(values) for name, values in rows.items()}
        found, count = infer(given), len(next(iter(given.values())))
        for values in found.values():
            if len(values) != count:
                raise ParityError(
                    f"the engine returned {plural(len(values), 'row')} for {plural(count, 'input')}",
                    required="one row per input: a free batch size",
                    fix="export it again with --force",
                )
        yield part, found


def _differences(
    infer: Callable[[Inputs], Outputs],
    inputs: Inputs,
    reference: Outputs,
    rules: Mapping[str, Rule],
    batch: int,
    tolerances: Mapping[str, float],
) -> dict[str, Float32Array]:
    """Return by output (N, 4): largest error, its largest share of a margin, flipped decisions, 1 - Dice of masks."""
    rows: dict[str, list[tuple[float, float, float, float]]] = {name: [] for name in rules}
    for part, outputs in _each(infer, inputs, batch):
        for name, rule in rules.items():
            wanted = reference[name][part]
            if name not in outputs or outputs[name].shape != wanted.shape:
                given = f"outputs of shape {outputs[name].shape[1:]}" if name in outputs else f"no output '{name}'"
                raise ParityError(
                    f"the engine returned {given}",
                    required=f"{wanted.shape[1:]}, as its source network",
                    fix="export it again with --force",
                )
            pairs = zip(_as_columns(outputs[name], rule), _as_columns(wanted, rule), strict=True)
            rows[name] += [_difference(one, other, rule, tolerances[name]) for one, other in pairs]
    return {name: np.array(found) for name, found in rows.items()}


def _as_columns(values: Float32Array, rule: Rule) -> Float32Array:
    """Return an output as (N, C), or (N, C, *spatial) of maps, whose columns are what decides."""
    return values.reshape(len(values), -1) if values.ndim == 1 or not rule.decides else values


def _decisions(logits: Float32Array, rule: Rule) -> Float32Array:
    """Return the outputs of one image, (C,) or (C, *spatial), as (C, P); two for each output with a cut of its own."""
    logits_CP = logits.reshape(len(logits), -1)
    if rule.cuts is None:
        return logits_CP if rule.offsets is None else logits_CP - np.asarray(rule.offsets, dtype=np.float32)[:, None]
    above = (logits_CP - np.asarray(rule.cuts, dtype=np.float32)[:, None]).reshape(-1)
    return np.stack([np.zeros_like(above), above])


def _difference(
    found: Float32Array, reference: Float32Array, rule: Rule, tolerance: float
) -> tuple[float, float, float, float]:
    """Compare the outputs of one image, (C,) or (C, *spatial); of maps also the Dice of their masks."""
    if not rule.decides:
        error = float(np.abs(found - reference).max())
        return error if np.isfinite(error) else np.inf, 0.0, 0.0, 0.0
    found_CP, reference_CP = _decisions(found, rule), _decisions(reference, rule)
    error_P = np.abs(found_CP - reference_CP).max(axis=0)
    # comparisons with NaN are false, so count it as the largest error
    error_P = np.where(np.isfinite(error_P), error_P, np.inf)
    second_P, first_P = np.partition(reference_CP, -2, axis=0)[-2:]
    share = float((error_P / np.maximum(first_P - second_P, tolerance)).max())
    best_P, wanted_P = found_CP.argmax(axis=0), reference_CP.argmax(axis=0)
    lost = 0.0
    if found.ndim > 1:
        overlap_S = _mask_dice(best_P, wanted_P, found, rule)
        lost = 1.0 - float(np.nanmean(overlap_S)) if np.isfinite(overlap_S).any() else 0.0
    return float(error_P.max()), share, float((best_P != wanted_P).sum()), lost


def _mask_dice(best_P: Ints, wanted_P: Ints, outputs: Float32Array, rule: Rule) -> Floats:
    """Return the Dice of each structure, (S,), from the decisions on one image's outputs (C, *spatial)."""
    if rule.cuts is None:
        return mask_dice(best_P, wanted_P, len(outputs) - 1)
    one, two = (join_structures(side.reshape(len(outputs), -1) > 0) for side in (best_P, wanted_P))
    return mask_dice(one, two, len(outputs))


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
