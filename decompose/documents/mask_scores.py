"""Scores of masks: of one structure, and means over structures."""

from __future__ import annotations

from typing import Literal

from lorkit.decompose.documents.base import Interval, Part, Share

Unit = Literal["mm", "pixels", "voxels"]
"""Of distances in masks: mm where the files of all cases state the size of their voxels."""


VolumeUnit = Literal["ml", "mm2", "pixels", "voxels"]
"""Of sizes of structures: ml, of 2D images mm2, where the files of all cases state the size of their voxels."""


class MaskFigures(Part):
    """Scores of masks as `predict` writes them: on the grid of each image, against the original mask."""

    dice: Share | None
    nsd: Share | None
    """Normalised surface Dice: the share of both surfaces within the tolerance of the other."""
    hd95: float | None
    """95th percentile of the distance between the surfaces, of cases in which both masks have the structure."""
    dice_network_grid: Share | None
    """Dice at the network's size, before masks are resized: a diagnostic."""
    volume_bias: float | None = None
    """Mean over cases of the predicted minus the true volume; see `volume_unit`."""
    volume_bias_relative: float | None = None
    """Its mean as a share of the true volume, of cases whose true mask has the structure."""
    ci: dict[str, Interval | None]


class StructureScores(MaskFigures):
    """One structure of a segmentation."""

    structure: str
    n: int
    """Cases whose true mask has it."""
    defined: int
    """Cases with a Dice: the true or the predicted mask has it."""
    hd95_undefined: int
    """Cases with a Dice and without HD95: one of the masks lacks the structure. Their NSD is 0."""
    empty: int | None = None
    """Cases whose true mask lacks it; null in documents of earlier versions."""
    false: int | None = None
    """Of the empty cases, those whose predicted mask has it."""
    missed: int | None = None
    """Of the `n` cases, those whose predicted mask lacks it."""
