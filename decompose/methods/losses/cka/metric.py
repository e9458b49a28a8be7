"""CKA over a data set in batches: sums of HSIC, divided once at the end.

The mean of CKA over batches is another, biased number; a ratio of sums of unbiased HSIC is right at any batch size
(Nguyen et al. 2021; section 5.2 of the specification of RD).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from lorkit.decompose.errors import DataError
from lorkit.decompose.methods.losses.cka.products import FEWEST, Estimator, Space, check_options, products, standardise
from lorkit.decompose.methods.losses.cka.similarity import samples_of, sides
from lorkit.decompose.methods.losses.cka.views import View


class CKAMetric:
    """CKA of two networks over batches in any order; sums are float64 and lie on the host.

    Every batch (every image, in view "patch-image") counts the same, whatever its size.

    Args:
        estimator: "unbiased", or "biased" for what the loss sees.
        view: What a sample is; see `views.sample_matrices`.
        space: "gram", "feature", or "auto" for the cheaper one by shape.

    Attributes:
        batches: Batches summed so far.
        skipped: Batches with too few samples for the estimator, which no sum holds: the last one, mostly.
    """

    def __init__(self, *, estimator: Estimator = "unbiased", view: View = "gap", space: Space = "auto") -> None:
        check_options(estimator, space)
        self.estimator: Estimator = estimator
        self.view: View = view
        self.space: Space = space
        self.reset()

    def reset(self) -> None:
        """Forget every batch."""
        self.batches = self.skipped = 0
        self._sums = torch.zeros(3, dtype=torch.float64)

    @torch.no_grad()
    def update(self, x: Tensor, y: Tensor) -> None:
        """Add a batch: features of both networks of the same samples, as `cka` takes them.

        Raises:
            DataError: Features that do not fit together or are not finite.
        """
        pair = sides(x, y, view=self.view, gather=False)
        samples = samples_of(pair)
        if samples < FEWEST[self.estimator]:
            self.skipped += 1
            return
        with torch.autocast(x.device.type, enabled=False):
            left, right = standardise(*pair)
            found = products(left.rows, right.rows, estimator=self.estimator, space=self.space)
        # HSIC is no cosine: batches count by their spread, so that what was divided out comes back
        x2, y2 = left.spread.cpu().double() ** 2, right.spread.cpu().double() ** 2
        values = [value.cpu().double() for value in found[:3]]
        terms = [x2 * y2 * values[0], x2 * x2 * values[1], y2 * y2 * values[2]]
        pairs = samples * (samples - 3) if self.estimator == "unbiased" else (samples - 1) ** 2
        self._sums += torch.stack([term.sum() for term in terms]) / pairs
        self.batches += 1

    def compute(self) -> float | None:
        """Return CKA over all batches; None where a side did not vary in any of them.

        Raises:
            DataError: No batch was added.
        """
        if not self.batches:
            raise DataError(
                f"CKA over no batch ({self.skipped} were too small)",
                required=f"a batch of {FEWEST[self.estimator]} samples or more",
                fix="use larger batches",
            )
        xy, xx, yy = self._sums.tolist()
        return float(xy / (xx * yy) ** 0.5) if min(xx, yy) > 0 else None

    def merge(self, other: CKAMetric) -> None:
        """Add what another metric of the same options has seen, that of another rank for one.

        Raises:
            DataError: Its estimator or view is another.
        """
        self._check(other.estimator, other.view)
        self._sums = self._sums + other._sums
        self.batches += other.batches
        self.skipped += other.skipped

    def state_dict(self) -> dict[str, Any]:
        """Return the state as tensors, numbers and strings, which `torch.load(weights_only=True)` reads."""
        counts = {"batches": self.batches, "skipped": self.skipped}
        return {"sums": self._sums.clone(), **counts, "estimator": self.estimator, "view": self.view}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a state.

        Raises:
            DataError: It is of another estimator or view.
        """
        self._check(state["estimator"], state["view"])
        self._sums = state["sums"].clone().to("cpu", torch.float64)
        self.batches, self.skipped = int(state["batches"]), int(state["skipped"])

    def _check(self, estimator: str, view: str) -> None:
        if (estimator, view) != (self.estimator, self.view):
            raise DataError(
                f"CKA sums of the {estimator} estimator in view {view}",
                required=f"the {self.estimator} estimator in view {self.view}",
                fix="start a new metric",
            )
