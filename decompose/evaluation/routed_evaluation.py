"""Scores of a routed model where the region of an image is unknown, and the calibration of its region predictor.

Shapes: N images, T regions, K outputs of a head.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from lorkit.decompose.artifacts.arrays import Float32Array

RunNetwork = Callable[[Float32Array], Mapping[str, Float32Array]]
"""Images (N, C, *spatial) to outputs by name, as a router network has them."""

REFUSED = 0.01
"""Share of validation images whose confidence is too low for an answer."""
