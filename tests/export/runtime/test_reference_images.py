from __future__ import annotations

import numpy as np

from lorkit.export.runtime.reference_images import ReferenceImages, mixed, seeded_inputs


def some(count: int, first: float, kind: str = "real") -> ReferenceImages:
    images = first + np.arange(count, dtype=np.float32)[:, None, None, None] * np.ones((1, 1, 2, 2), np.float32)
    return ReferenceImages(images=images, kind=kind, labels=np.zeros(count, np.int64))  # type: ignore[arg-type]


def test_regions_take_turns_and_each_image_keeps_its_own() -> None:
    found = mixed([some(3, 0), some(1, 100), some(2, 200)])
    assert found.region_N is not None
    assert found.images[:, 0, 0, 0].tolist() == [0, 100, 200, 1, 201, 2]
    assert found.region_N.tolist() == [0, 1, 2, 0, 2, 0]
    assert found.region_N.dtype == np.int64
    assert found.labels is None
    assert list(found.given(("image", "region"))) == ["image", "region"]
    assert list(found.given(("image",))) == ["image"]
    few = found.first(4)
    assert few.region_N is not None
    assert (len(few.images), few.region_N.tolist()) == (4, [0, 1, 2, 0])


def test_the_kind_is_the_least_real_one() -> None:
    assert mixed([some(1, 0), some(1, 1)]).kind == "real"
    assert mixed([some(1, 0), some(1, 1, "phantom")]).kind == "phantom"
    assert mixed([some(1, 0, "phantom"), some(1, 1, "seeded"), some(1, 1)]).kind == "seeded"


def test_seeded_inputs_are_the_same_every_time_and_in_range() -> None:
    one, two = (seeded_inputs((3, 18, 13), 4, seed=7) for _ in range(2))
    np.testing.assert_array_equal(one, two)
    assert one.shape == (4, 3, 18, 13)
    assert one.dtype == np.float32
    assert 0 <= one.min() < one.max() <= 1
    assert np.abs(one[0] - one[1]).max() > 0.1
