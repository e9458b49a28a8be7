"""The image of a foundation: what may be stated of it, and what is taken from the image of the student."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from lorkit.decompose import load_config
from lorkit.decompose.config import Config, ImageConfig, to_yaml
from lorkit.decompose.errors import UsageError


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{size: 4}", "between 8 and 4096"),
        ("{size: [32, 32, 32]}", "as many sides as image.size"),
        ("{mean: [0.5]}", "mean and std together"),
        ("{channels: 3, mean: [0.5], std: [0.2]}", "one mean per channel"),
        ("{channel: 3}", "did you mean 'channels'"),
    ],
)
def test_images_of_a_foundation_are_checked(
    configured: Callable[..., Config], tmp_path: Path, text: str, message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        configured(tmp_path, **{"foundation.image": text})


def test_what_is_not_stated_is_as_the_students(configured: Callable[..., Config], tmp_path: Path) -> None:
    config = configured(tmp_path, **{"image.mean": "[0.3]", "image.std": "[0.2]", "foundation.image": "{size: 24}"})
    assert config.foundation_image == ImageConfig(size=(24, 24), channels=1, mean=(0.3,), std=(0.2,))
    assert configured(tmp_path, **{"foundation.image": "{channels: 3}"}).foundation_image.mean == (0.5,) * 3
    path = tmp_path / "again.yaml"
    path.write_text(to_yaml(config), encoding="utf-8")
    assert load_config(path).foundation_image == config.foundation_image
