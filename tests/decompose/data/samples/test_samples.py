"""The checks that all readers share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from lorkit.decompose.config import RegionConfig
from lorkit.decompose.data.samples.digests import digest_image
from lorkit.decompose.data.samples.samples import (
    RegionSamples,
    check_samples,
    encode,
    order_classes,
    part_name,
)
from lorkit.decompose.data.samples.source import Source
from lorkit.decompose.errors import DataError, UsageError

MakeSource = Callable[..., Source]


def config(**settings: Any) -> RegionConfig:
    return RegionConfig(data=("x",), **settings)


def test_labels_follow_the_configured_class_order(make_source: MakeSource) -> None:
    samples = check_samples("r", config(classes=("b", "a")), make_source([0, 0, 1]))
    assert samples.region.classes == ("b", "a")
    assert samples.labels.tolist() == [1, 1, 0]


@pytest.mark.parametrize("label", [-1, 2])
def test_label_out_of_range_is_refused_with_its_sample(make_source: MakeSource, label: int) -> None:
    with pytest.raises(DataError, match=rf"label {label} of sample 's1'.*0 to 1"):
        check_samples("r", config(), make_source([0, label, 1]))


def test_class_without_samples_is_named(make_source: MakeSource) -> None:
    source = make_source([0, 1], classes=("a", "b", "c"))
    with pytest.raises(DataError, match=r"class 'c' of region 'r'"):
        check_samples("r", config(), source)
    assert len(check_samples("r", config(), source, complete=False)) == 2


def test_class_outside_the_configured_ones_is_named(make_source: MakeSource) -> None:
    with pytest.raises(DataError, match="class 'b'"):
        check_samples("r", config(classes=("a", "z")), make_source([0, 1]))


def test_unequal_lengths_and_no_samples_are_refused(make_source: MakeSource) -> None:
    with pytest.raises(DataError, match="3 labels"):
        check_samples("r", config(), replace(make_source([0, 1]), labels=np.array([0, 1, 1])))
    with pytest.raises(DataError, match="no samples"):
        check_samples("r", config(), make_source([]))


def test_other_tasks_are_refused_with_the_known_ones(make_source: MakeSource) -> None:
    with pytest.raises(UsageError, match="classification"):
        check_samples("r", config(task="segmentation"), make_source([0, 1]))


def test_parts_for_some_samples_only_are_refused(make_source: MakeSource) -> None:
    with pytest.raises(DataError, match="'s1' does not"):
        check_samples("r", config(), make_source([0, 1], parts=["train", None]))


def test_digest_sees_dtype_shape_and_pixels_but_not_byte_order() -> None:
    image = np.arange(6, dtype=np.uint16).reshape(2, 3)
    assert digest_image(image) == digest_image(image.astype(">u2"))
    others = [image.reshape(3, 2), image.astype(np.uint8), image + np.uint16(1)]
    assert digest_image(image) not in {digest_image(other) for other in others}


def test_region_digest_sees_labels_and_groups(make: Callable[..., RegionSamples]) -> None:
    images = np.zeros((3, 4, 4), np.uint8)
    base = make([0, 1, 1], images=images)
    assert base.digest == make([0, 1, 1], images=images).digest
    assert base.digest != make([1, 0, 1], images=images).digest
    assert base.digest != make([0, 1, 1], images=images, groups=["g", "g", "h"]).digest


def test_class_names_sort_as_numbers_when_they_are() -> None:
    assert order_classes(["10", "2", "1"]) == ("1", "2", "10")
    assert order_classes(["b", "10", "a"]) == ("10", "a", "b")


def test_unknown_names_are_refused() -> None:
    with pytest.raises(DataError, match="label 'z' of sample 2"):
        encode(["a", "z"], "file", ("a", "b"))
    assert part_name(" Validation ", "x") == "val"
    assert part_name("", "x") is None
    with pytest.raises(DataError, match="'holdout'"):
        part_name("holdout", "line 3")


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_broken_pixels_are_found_before_training(make_source: MakeSource, value: float) -> None:
    source = make_source([0, 1, 1])
    images = np.asarray(source.images).astype(np.float32) / 255
    images[2, 1, 1] = value
    with pytest.raises(DataError, match=f"{source.ids[2]}.*NaN or infinite"):
        check_samples("r", config(), replace(source, images=images))
