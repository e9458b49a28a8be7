"""Prove that an engine gives its source network's outputs: largest error, error against the margin, label flips.

Shapes: N images, C classes; images are (N, channels, *spatial).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from lorkit.decompose.errors import ParityError
from lorkit.export.targets.base import Floats

BATCHES = (1, 3, 8)

# Largest error allowed as a share of the largest logit (at least 1). fp32 holds 24 bits, 6e-8; an engine adds in
# another order, folds batch norms and fuses layers, which over the few thousand terms of a layer and some fifty
# layers costs two to three digits. Measured on ResNets, ViTs and 3D U-Nets: up to 2e-6.
TOLERANCES = {"fp32": 5e-5}


@dataclass(frozen=True, kw_only=True)
class Parity:
    """What a comparison found.

    Attributes:
        max_abs: Largest difference of a logit.
        tolerance: What was allowed.
        of_margin: Largest difference as a share of its image's margin between the two best classes.
        label_flips: Images whose best class differs, at any batch size.
        n: Images compared.
        batches: Batch sizes at which all of them ran.
        inputs: "real", "phantom" or "seeded".
    """

    max_abs: float
    tolerance: float
    of_margin: float
    label_flips: int
    n: int
    batches: tuple[int, ...]
    inputs: str

    @property
    def passed(self) -> bool:
        """Whether every difference is allowed; then a label can only flip where two classes tie."""
        return self.max_abs <= self.tolerance

    def to_json(self) -> dict[str, Any]:
        """Return plain data for `export.json`; an infinite error, of an engine that gives NaN, is null."""
        document = asdict(self) | {"status": "passed" if self.passed else "failed", "batches": list(self.batches)}
        return {key: None if isinstance(value, float) and not np.isfinite(value) else value
                for key, value in document.items()}  # fmt: skip


def tolerance_of(precision: str, reference_NC: Floats) -> float:
    """Return the largest error allowed beside these reference logits.

    Raises:
        ParityError: No tolerance is stated for this precision.
    """
    if precision not in TOLERANCES:
        raise ParityError(
            f"no tolerance for precision '{precision}'", required=f"one of {', '.join(TOLERANCES)}", fix="use fp32"
        )
    return TOLERANCES[precision] * max(1.0, float(np.abs(reference_NC).max()))


def in_batches(run: Callable[[Floats], Floats], images: Floats, batch: int) -> Floats:
    """Run all images in batches of a size and return (N, C).

    Raises:
        ParityError: The engine returned another number of rows than images.
    """
    parts = []
    for start in range(0, len(images), batch):
        given = np.ascontiguousarray(images[start : start + batch])
        found = run(given)
        if len(found) != len(given):
            raise ParityError(
                f"the engine returned {len(found)} row(s) for {len(given)} image(s)",
                required="one row an image: a free batch size",
                fix="export it again with --force",
            )
        parts.append(found)
    return np.concatenate(parts)


def compare(
    run: Callable[[Floats], Floats],
    images: Floats,
    reference_NC: Floats,
    *,
    precision: str,
    inputs: str,
    batches: Sequence[int] = BATCHES,
) -> Parity:
    """Run images through an engine at several batch sizes and compare with the source's logits."""
    found = [in_batches(run, images, batch) for batch in batches]
    tolerance = tolerance_of(precision, reference_NC)
    errors = np.max([np.abs(logits - reference_NC).max(axis=1) for logits in found], axis=0)
    # a NaN compares as no error at all: count it as the worst
    errors = np.where(np.isfinite(errors), errors, np.inf)
    best = np.sort(reference_NC, axis=1)
    margins = np.maximum(best[:, -1] - best[:, -2], tolerance)
    flipped = np.any([logits.argmax(axis=1) != reference_NC.argmax(axis=1) for logits in found], axis=0)
    return Parity(
        max_abs=float(errors.max()),
        tolerance=tolerance,
        of_margin=float((errors / margins).max()),
        label_flips=int(flipped.sum()),
        n=len(images),
        batches=tuple(batches),
        inputs=inputs,
    )


def require(parity: Parity, what: str) -> None:
    """Raise unless the comparison passed.

    Raises:
        ParityError: It names the error found, the tolerance required and how many labels flipped.
    """
    if not parity.passed:
        raise ParityError(
            f"{what} differs from its source by {parity.max_abs:.3g} with {parity.label_flips} label flip(s) "
            f"on {parity.n} {parity.inputs} input(s)",
            required=f"at most {parity.tolerance:.3g}",
            fix="nothing was kept; report the backbone and target",
        )


def seeded_inputs(shape: Sequence[int], count: int, *, seed: int = 0) -> Floats:
    """Return (count, *shape) float32 in [0, 1]: what stands in for images where none may be read or kept.

    A coarse pattern under fine noise, so that deep layers see structure and not an average.
    """
    generator = np.random.default_rng(seed)
    channels, *spatial = shape
    coarse = generator.random((count, channels, *(-(-side // 8) for side in spatial)), dtype=np.float32)
    for axis, side in enumerate(spatial, start=2):
        coarse = np.repeat(coarse, 8, axis=axis).take(range(side), axis=axis)
    fine = generator.random((count, *shape), dtype=np.float32)
    return np.ascontiguousarray(0.75 * coarse + 0.25 * fine, dtype=np.float32)
