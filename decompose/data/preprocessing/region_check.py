"""A fast check that an image belongs to a region, as plain numbers stored with an expert.

Each image is reduced to a fingerprint: an 8 x 8 thumbnail, its colour, contrast, sharpness and intensity quantiles.
Fingerprints of training images are modelled as a Gaussian with a few free directions and one variance for all others
(probabilistic PCA, Tipping and Bishop 1999). An image is refused if its distance exceeds that of all but a stated share
of the validation images. The check detects a wrong body part, modality, inversion or a blank frame; it does not check a
diagnosis.

Directions fitted to few patients lie along them and tell who they were, so there is one per `GROUPS_PER_DIRECTION`
patients. Of fewer the model is a rounded mean and scale of each value; of less than `FEWEST_GROUPS` a rounded range of
each kind of value, the coarser the fewer they are, which detects less. The limit is rounded, as it is the distance of
one patient.

The fingerprint of a volume joins those of its middle slices along the three axes.

Shape legend: N images, C channels, H W pixels, F fingerprint values, K directions.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from lorkit.decompose.artifacts.arrays import Float32Array, Floats
from lorkit.decompose.data.preprocessing.recipe import resize_image
from lorkit.decompose.documents.base import combine
from lorkit.decompose.documents.network import RegionCheck, RegionModel
from lorkit.decompose.errors import DataError, plural

THUMBNAIL = 8
DIRECTIONS = 12
QUANTILES = (0.02, 0.25, 0.5, 0.75, 0.98)
FALSE_REFUSALS = 0.01
FEWEST_GROUPS, GROUPS_PER_DIRECTION = 30, 60
_RANGE_STEPS = {10: 0.1, 4: 0.25, 0: 0.5}
"""What ranges are rounded to, by the least number of groups: few have narrow ranges, which others lie outside of."""
_STEP, _LIMIT_STEP, _RANGE_LIMIT_STEP = 0.02, 0.05, 0.25
_BLOCK = 2**15
"""Values of as many images as are reduced at a time: their float64 copies stay in the cache of a core."""
_SORTED, _BINS = 2**13, 2**12
"""Values up to which an image is sorted, and the bins that the values of larger ones are counted in."""
_DIGITS = 5
_OVERVIEW = 32
_BOX = Image.Resampling.BOX


def fingerprint(images_NCHW: Float32Array) -> Floats:
    """Return the (N, F) fingerprints of prepared images, float32 in [0, 1]."""
    found = []
    for view_NCHW in _views(images_NCHW):
        count = max(1, _BLOCK // math.prod(view_NCHW.shape[1:]))
        starts = range(0, len(view_NCHW), count)
        found.append(np.concatenate([_fingerprint(view_NCHW[start : start + count]) for start in starts]))
    return found[0] if len(found) == 1 else np.concatenate(found, axis=1)


def overview(volume_CDHW: Float32Array) -> Float32Array:
    """Return a small copy of a whole case, (C, 32, 32, 32), which is checked where a network takes windows of it."""
    return np.stack([resize_image(np.ascontiguousarray(plane), (_OVERVIEW,) * 3) for plane in volume_CDHW])


def fit(images_NCHW: Float32Array, *, groups: int | None = None) -> RegionModel:
    """Fit the model to the training images of a region (two or more, else DataError); `calibrate` adds the limit.

    Statistics of few patients tell who was among them. Each `GROUPS_PER_DIRECTION` groups give one direction, up to
    `DIRECTIONS`; of fewer, mean and scale are rounded. Below `FEWEST_GROUPS` groups the model has ranges only, which
    are rounded, and are shared by all values of a kind.

    Args:
        images_NCHW: Prepared images.
        groups: Number of their groups (patients); by default each image is one.
    """
    if len(images_NCHW) < 2:
        raise DataError(
            f"{plural(len(images_NCHW), 'training image')} for the in-region check",
            required="at least two",
            fix="add training images",
        )
    raw_NF = fingerprint(images_NCHW)
    groups = len(images_NCHW) if groups is None else groups
    if groups < FEWEST_GROUPS:
        return _ranges(raw_NF, channels=int(images_NCHW.shape[1]), groups=groups)
    if groups < GROUPS_PER_DIRECTION:
        return _rounded(raw_NF, channels=int(images_NCHW.shape[1]))
    mean_F = raw_NF.mean(0)
    # values constant in training (a black corner) need a scale, else noise in them would refuse every image
    scale_F = np.maximum(raw_NF.std(0), 0.01)
    values, vectors = np.linalg.eigh(np.cov((raw_NF - mean_F) / scale_F, rowvar=False))
    kept = min(DIRECTIONS, groups // GROUPS_PER_DIRECTION, len(raw_NF) - 1, len(values) - 1)
    rest = float(max(values[:-kept].mean(), 0.01))
    return RegionModel(
        version=1,
        channels=int(images_NCHW.shape[1]),
        mean=_plain(mean_F),
        scale=_plain(scale_F),
        directions=[_plain(row) for row in vectors.T[: -kept - 1 : -1]],
        variances=_plain(np.maximum(values[: -kept - 1 : -1], rest)),
        rest=round(rest, _DIGITS),
        trained_on=len(raw_NF),
    )


def _rounded(raw_NF: Floats, channels: int) -> RegionModel:
    """Return a model of one rounded mean and scale per value; its direction has the variance of all others."""
    count = raw_NF.shape[1]
    return RegionModel(
        version=1,
        channels=channels,
        mean=_plain(np.round(raw_NF.mean(0) / _STEP) * _STEP),
        scale=_plain(np.maximum(np.ceil(raw_NF.std(0) / _STEP), 1.0) * _STEP),
        directions=[_plain(np.full(count, count**-0.5))],
        variances=[1.0],
        rest=1.0,
        trained_on=len(raw_NF),
    )


def _ranges(raw_NF: Floats, channels: int, groups: int) -> RegionModel:
    """Return a model of rounded ranges by kind of value: centre and half width, without directions."""
    kinds = (THUMBNAIL**2, 1, 2, len(QUANTILES), *([channels] if channels > 1 else []))
    kinds *= raw_NF.shape[1] // sum(kinds)  # of each view
    step = next(step for least, step in _RANGE_STEPS.items() if groups >= least)
    centre_F, half_F = [], []
    for values in np.split(raw_NF, np.cumsum(kinds)[:-1], axis=1):
        low = math.floor(values.min() / step) * step
        high = max(math.ceil(values.max() / step) * step, low + step)
        centre_F += values.shape[1] * [(low + high) / 2]
        half_F += values.shape[1] * [(high - low) / 2]
    return RegionModel(
        version=1,
        channels=channels,
        mean=_plain(np.array(centre_F)),
        scale=_plain(np.array(half_F)),
        directions=[],
        variances=[],
        rest=1.0,
        trained_on=len(raw_NF),
    )


def calibrate(model: RegionModel, images_NCHW: Float32Array) -> RegionCheck:
    """Add the `limit` that refuses at most `FALSE_REFUSALS` of these validation images."""
    if not len(images_NCHW):
        raise DataError("no validation images for the in-region check", required="at least one", fix="enlarge val")
    found_N = np.sort(distances(model, images_NCHW))
    # the smallest order statistic above an unseen image of the region with the required probability
    rank = min(len(found_N), math.ceil((len(found_N) + 1) * (1.0 - FALSE_REFUSALS)))
    limit = round(float(found_N[rank - 1]) * 1.000001 + 10**-_DIGITS, _DIGITS)
    # it is the distance of one patient; inside of ranges it is at most 1
    least, step = (0.0, _LIMIT_STEP) if model.directions else (1.0, _RANGE_LIMIT_STEP)
    limit = round(math.ceil(max(limit, least) / step) * step, _DIGITS)
    return combine(RegionCheck, model, limit=limit, calibrated_on=len(found_N))


def distances(model: RegionModel, images_NCHW: Float32Array) -> Floats:
    """Return the (N,) distances of prepared images from the region: root mean squared standard deviations.

    For a model of ranges it is the largest deviation from a centre, in half widths: 1 is the edge of a range.
    """
    raw_NF = fingerprint(images_NCHW)
    mean_F, scale_F, variance_K = map(np.asarray, (model.mean, model.scale, model.variances))
    basis_KF = np.asarray(model.directions).reshape(-1, len(mean_F))
    if raw_NF.shape[1] != len(mean_F):
        raise DataError(
            f"image with {plural(images_NCHW.shape[1], 'channel')}",
            required=f"{model.channels}",
            fix="prepare it with the expert's own recipe",
        )
    centred_NF = (raw_NF - mean_F) / scale_F
    if not model.directions:
        farthest_N: Floats = np.abs(centred_NF).max(1)
        return farthest_N
    # not by `@`, whose last bit depends on the number of images: an image has one distance, whatever is beside it
    along_NK = np.einsum("nf,kf->nk", centred_NF, basis_KF)
    outside_N = np.maximum((centred_NF**2).sum(1) - (along_NK**2).sum(1), 0.0)
    squared_N = (along_NK**2 / variance_K).sum(1) + outside_N / model.rest
    distance_N: Floats = np.sqrt(squared_N / len(mean_F))
    return distance_N


def check(model: RegionCheck, image: Float32Array) -> tuple[float, float, bool]:
    """Check one prepared image (C, H, W): its distance, the limit, and whether it is inside."""
    return check_all(model, image[None])[0]


def check_all(model: RegionCheck, images_NCHW: Float32Array) -> list[tuple[float, float, bool]]:
    """Check prepared images: of each its distance, the limit, and whether it is inside."""
    return [(one, model.limit, one <= model.limit) for one in distances(model, images_NCHW).tolist()]


def refusal_rate(model: RegionCheck, images_NCHW: Float32Array) -> float | None:
    """Return the share of images that the check refuses; None for no images."""
    return float((distances(model, images_NCHW) > model.limit).mean()) if len(images_NCHW) else None


def _fingerprint(images_NCHW: Float32Array) -> Floats:
    wide_NCHW = images_NCHW.astype(np.float64)
    gray_NHW = wide_NCHW[:, 0] if images_NCHW.shape[1] == 1 else wide_NCHW.mean(1)
    flat_NP = gray_NHW.reshape(len(gray_NHW), -1)
    spread_N1 = flat_NP.std(1, keepdims=True)
    # of one channel the image itself: half the bytes to sort
    narrow_NHW = gray_NHW if images_NCHW.shape[1] > 1 else images_NCHW[:, 0]
    parts = [_thumbnails(narrow_NHW), spread_N1, _sharpness(gray_NHW), _quantiles(narrow_NHW)]
    if images_NCHW.shape[1] > 1:
        parts.append(wide_NCHW.mean((2, 3)) - flat_NP.mean(1, keepdims=True))
    return np.concatenate(parts, axis=1)


def _thumbnails(gray_NHW: Floats | Float32Array) -> Floats:
    """Return (N, 64) thumbnails, of the images one below the other: no box of pixels holds rows of two of them."""
    count, height, width = gray_NHW.shape
    gray_NHW = np.ascontiguousarray(gray_NHW, np.float32)
    if height > width:  # Pillow may take rows first, which changes the last bit: as it does for each image
        several = [np.asarray(Image.fromarray(gray_HW).resize((THUMBNAIL,) * 2, _BOX)) for gray_HW in gray_NHW]
        return np.stack(several).reshape(count, -1).astype(np.float64)
    tall = Image.fromarray(gray_NHW.reshape(count * height, width)).resize((THUMBNAIL, count * height), _BOX)
    return np.asarray(tall.resize((THUMBNAIL, count * THUMBNAIL), _BOX)).reshape(count, -1).astype(np.float64)


def _sharpness(gray_NHW: Floats) -> Floats:
    """Return (N, 2) mean differences of neighbours below each other and side by side."""
    steps = gray_NHW[:, 1:] - gray_NHW[:, :-1], gray_NHW[:, :, 1:] - gray_NHW[:, :, :-1]
    return np.stack([np.abs(step, out=step).mean((1, 2)) for step in steps], axis=1)


def _quantiles(gray_NHW: Floats | Float32Array) -> Floats:
    """Return the (N, Q) quantiles of each image, as `np.quantile` interpolates."""
    flat_NP = gray_NHW.reshape(len(gray_NHW), -1)
    last = flat_NP.shape[1] - 1
    place_Q = last * np.array(QUANTILES)
    low_Q = place_Q.astype(np.intp)
    share_Q = place_Q - low_Q
    rank_R = np.concatenate([low_Q, np.minimum(low_Q + 1, last)])
    if last < _SORTED:
        found_NR = np.sort(flat_NP, axis=1)[:, rank_R]
    else:
        found_NR = np.stack([_of_ranks(value_P, rank_R) for value_P in flat_NP])
    low_NQ, high_NQ = np.split(found_NR.astype(np.float64), 2, axis=1)
    step_NQ = high_NQ - low_NQ
    return np.where(share_Q >= 0.5, high_NQ - step_NQ * (1 - share_Q), low_NQ + step_NQ * share_Q)


def _of_ranks(value_P: NDArray[Any], rank_R: NDArray[np.intp]) -> NDArray[Any]:
    """Return the values in [0, 1] of some ranks: bins that hold them are found by counting, and only these are sorted.

    Six times as fast as a selection among all 50,000 values of an image.
    """
    bin_P = (value_P * value_P.dtype.type(_BINS)).astype(np.intp)  # a power of two: the order is kept
    end_B = np.cumsum(np.bincount(bin_P))
    bin_R = np.searchsorted(end_B, rank_R, side="right")
    found_R = np.empty(len(rank_R), value_P.dtype)
    for one in np.unique(bin_R):
        own, here_R = value_P[bin_P == one], bin_R == one
        inside = rank_R[here_R] - (end_B[one] - len(own))
        found_R[here_R] = np.partition(own, inside)[inside]
    return found_R


def _views(images: Float32Array) -> list[Float32Array]:
    """Return 2D images unchanged, and of volumes (N, C, D, H, W) the middle slice across each axis."""
    if images.ndim == 4:
        return [images]
    return [images.take(images.shape[axis] // 2, axis=axis) for axis in (2, 3, 4)]


def _plain(values: Floats) -> list[float]:
    return [round(float(value), _DIGITS) for value in values]
