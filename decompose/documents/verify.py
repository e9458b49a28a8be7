"""Parity of an export with its source: `parity` in `export.json` and the rows of `verify`."""

from __future__ import annotations

import math
from typing import Annotated, Literal

from pydantic import Field

from lorkit.decompose.documents.base import Document, Part, Share
from lorkit.decompose.documents.measured import Subject

ImageKind = Literal["real", "phantom", "seeded"]


class ParityFigures(Part):
    """Differences between the outputs of an engine and of its source network."""

    max_abs: float | None
    """Largest difference of a logit; null if the engine returns NaN."""
    tolerance: float
    of_margin: float | None
    """Largest difference as a fraction of the margin between the two best classes."""
    label_flips: int
    """Images with a decision whose best class differs, at any batch size."""
    flip_rate: Share
    """Fraction of decisions whose best class differs, at the worst batch size."""
    flip_limit: Share
    dice: Share | None = None
    """Dice of the engine's masks against the source's, of the worst image; null for classifiers."""
    n: int

    @property
    def error(self) -> float:
        """Largest difference of a logit; infinite for NaN."""
        return math.inf if self.max_abs is None else self.max_abs


class ProvenParity(ParityFigures):
    """Parity of an export that was run on the machine that built it."""

    batches: list[int]
    """Batch sizes at which all images ran."""
    inputs: ImageKind
    status: Literal["passed", "failed"]
    by_output: dict[str, ParityFigures] = {}
    """Of a network with several outputs those of each; the worst is above."""

    @property
    def passed(self) -> bool:
        """Whether every difference is allowed; in fp32 only ties of two classes may flip."""
        return self.status == "passed"


class NoParity(Part):
    """Reason why an export was not run on the machine that built it."""

    status: Literal["not_run"]
    reason: str = ""


ParityBlock = Annotated[ProvenParity | NoParity, Field(discriminator="status")]


class BatchParity(Part):
    """Results of one batch size."""

    batch: int
    max_abs: float | None
    of_margin: float | None
    label_flips: int
    flip_rate: Share
    dice: Share | None


class BisectionStep(Part):
    """A layer that was compared; the error is a fraction of its largest value, null for NaN."""

    layer: str
    layer_error: float | None


class Bisection(Part):
    """The first layer whose error exceeds the tolerance of the precision; null if there is none."""

    layer: str | None
    op: str | None = None
    layer_error: float | None = None
    before: float | None = None
    """Error of the layer before."""
    limit: float | None = None
    compared_layers: list[BisectionStep] = []
    reason: str | None = None
    """Reason why this export was not bisected."""


class VerifiedExport(ParityFigures, Subject):
    """An export compared with its source."""

    inputs: ImageKind
    status: Literal["passed", "failed"]
    against: Literal["source", "samples"]
    provider: str
    by_output: dict[str, ParityFigures] = {}
    """Of a network with several outputs those of each, at the worst batch size; the worst is above."""
    batches: list[BatchParity]
    bisection: Bisection | None = None


class VerifyDocument(Document):
    """The result of `decompose verify`."""

    kind: Literal["verification"] = "verification"
    status: Literal["passed"]
    exports: list[VerifiedExport]
    not_run: list[Subject]
    """Exports whose runtime or hardware is missing."""
