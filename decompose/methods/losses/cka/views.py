"""Views: the matrix of samples by features for CKA, from the outputs of layers of different networks.

Shapes: B images, C and D channels, L = H * W (* depth) positions of a grid, N samples, P features.
"""

from __future__ import annotations

from math import prod
from typing import Literal

import torch
from torch import Tensor

from lorkit.decompose.errors import DataError

View = Literal["gap", "flatten", "token", "patch-image"]
TAKEN = "features (B, C), (B, C, H, W), (B, C, D, H, W) or tokens (B, L, D)"


def sample_matrices(x: Tensor, y: Tensor, view: View) -> tuple[Tensor, Tensor]:
    """Return both sides as (N, P) and (N, Q), with "patch-image" as (B, L, P) and (B, L, Q), in one wide dtype.

    float64 is kept; all other types become float32 before summation.

    Args:
        x: Features (B, C), (B, C, H, W), (B, C, D, H, W) or tokens (B, L, D), channels last.
        y: The same of the same images, in order; of any of these forms and any width.
        view: "gap": samples are images, features are means over positions; "flatten": samples are images, features are
            all values; "token": samples are the positions of all images; "patch-image": each image is a separate
            problem over its positions. The last two need the same grid on both sides; tokens are in row order, without
            class token.

    Raises:
        DataError: Another form, no features, other images, or other grids.
    """
    for features in (x, y):
        _check(features)
    if len(x) != len(y):
        raise DataError(f"CKA of {len(x)} and {len(y)} samples", required="the same samples on both sides, in order")
    if x.device != y.device:
        raise DataError(f"CKA of features on {x.device} and {y.device}", required="one device", fix="move one of them")
    if view in ("token", "patch-image"):
        _check_grids(x, y, view)
    dtype = torch.promote_types(torch.promote_types(x.dtype, y.dtype), torch.float32)
    return _matrix(x, view, dtype), _matrix(y, view, dtype)


def _check(features: Tensor) -> None:
    shape = tuple(features.shape)
    if not 2 <= len(shape) <= 5 or prod(shape[1:]) == 0:
        raise DataError(f"CKA of features of shape {shape}", required=TAKEN, fix="choose another layer")
    if features.is_complex():
        raise DataError(f"CKA of {features.dtype} features", required="real numbers")


def _check_grids(x: Tensor, y: Tensor, view: View) -> None:
    """Refuse grids whose positions do not correspond; tokens give only the number of positions."""
    grids = [_grid(x), _grid(y)]
    same = prod(grids[0]) == prod(grids[1]) if 1 in (len(grids[0]), len(grids[1])) else grids[0] == grids[1]
    if not all(grids) or not same:
        shapes = f"{tuple(x.shape)} and {tuple(y.shape)}"
        raise DataError(
            f"CKA view {view} of features of shapes {shapes}",
            required="one grid on both sides",
            fix='resample one side or choose view "gap"',
        )


def _grid(features: Tensor) -> tuple[int, ...]:
    """Return the size of each axis of positions: empty for (B, C)."""
    shape = tuple(features.shape)
    return shape[1:2] if len(shape) == 3 else shape[2:]


def _matrix(features: Tensor, view: View, dtype: torch.dtype) -> Tensor:
    if view == "gap":
        axes = (1,) if features.dim() == 3 else tuple(range(2, features.dim()))
        return features.mean(axes, dtype=dtype) if axes else features.to(dtype)
    if view == "flatten":
        return features.flatten(1).to(dtype)
    tokens_BLP = features if features.dim() == 3 else features.flatten(2).mT
    return (tokens_BLP if view == "patch-image" else tokens_BLP.flatten(0, 1)).to(dtype)
