"""The width of reprogrammers: by the number of images, unless it is stated."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lorkit.decompose.config import RdConfig, default_config
from lorkit.decompose.methods import get_method
from lorkit.decompose.methods.reprogramming.widths import hidden_of, width_of, with_widths


@given(st.integers(1, 10**6))
def test_more_images_never_get_a_narrower_one(images: int) -> None:
    assert 32 <= width_of(images) <= width_of(images + 1)
    assert width_of(images) % 16 == 0


@pytest.mark.parametrize(("images", "width"), [(1, 32), (95, 80), (263, 128), (3413, 464)])
def test_known_numbers(images: int, width: int) -> None:
    assert width_of(images) == width


def test_stated_widths_are_kept() -> None:
    assert with_widths(RdConfig(hidden=99), {"a": 95}).hidden == 99
    assert with_widths(RdConfig(hidden={"a": 99}), {"a": 95, "b": 95}).hidden == {"a": 99, "b": 80}


def test_a_default_is_never_wider_than_the_student() -> None:
    settings = with_widths(RdConfig(), {"a": 10**6})
    assert hidden_of(settings, "a", 512) == 512
    assert hidden_of(settings, "a", 10**5) == width_of(10**6)
    assert hidden_of(RdConfig(hidden=4096), "a", 512) == 4096
    assert hidden_of(RdConfig(), "a", 512) == 512  # before the data are known


@pytest.mark.parametrize("name", ["rd", "drd"])
def test_methods_state_their_widths(name: str) -> None:
    config = default_config(overrides=["regions={a: {data: x}}"], method=name)
    assert get_method(name).fit_to_counts(config, {"a": 263}).rd.hidden == {"a": 128}
    assert get_method("kd").fit_to_counts(config, {"a": 263}) is config
