"""Small regions to split, prepare and load."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest

from lorkit.decompose.config import RegionConfig
from lorkit.decompose.data.samples.samples import RegionSamples, check_samples
from lorkit.decompose.data.samples.source import Source

Make = Callable[..., RegionSamples]


def build_source(
    labels: Sequence[int],
    *,
    classes: tuple[str, ...] = ("a", "b"),
    images: Any = None,
    groups: Sequence[str] | None = None,
    parts: Sequence[str | None] | None = None,
    size: int = 8,
    seed: int = 0,
) -> Source:
    """Random gray images with these labels; each sample is its own group unless told otherwise."""
    count = len(labels)
    if images is None:
        images = np.random.default_rng(seed).integers(0, 256, (count, size, size), dtype=np.uint8)
    ids = tuple(f"s{index}" for index in range(count))
    return Source(
        images=images,
        labels=np.array(labels, dtype=np.int64),
        classes=classes,
        ids=ids,
        groups=tuple(groups) if groups is not None else ids,
        grouped=groups is not None,
        parts=tuple(parts) if parts is not None else (None,) * count,
        origin="memory",
    )


@pytest.fixture
def make_source() -> Callable[..., Source]:
    """The builder of unchecked sources."""
    return build_source


@pytest.fixture
def make() -> Make:
    """The builder of checked samples: `make(labels, name="r", **source)`."""

    def build(labels: Sequence[int], *, name: str = "r", **source: Any) -> RegionSamples:
        return check_samples(name, RegionConfig(data=("x",)), build_source(labels, **source))

    return build
