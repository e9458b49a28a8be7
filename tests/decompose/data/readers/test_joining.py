from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from lorkit.decompose.data.readers.joining import JoinedImages, concatenate
from lorkit.decompose.data.samples.source import Source

MakeSource = Callable[..., Source]


def test_concatenation_matches_classes_by_name(make_source: MakeSource) -> None:
    joined = concatenate([make_source([0, 1]), make_source([0, 1], classes=("b", "c"), seed=1)])
    assert joined.classes == ("a", "b", "c")
    assert joined.labels.tolist() == [0, 1, 1, 2]
    assert len(joined.images) == 4


def test_joined_images_find_their_block() -> None:
    joined = JoinedImages([[np.full((1, 1), 0)], [], [np.full((1, 1), 1), np.full((1, 1), 2)]])
    assert [int(joined[index][0, 0]) for index in range(3)] == [0, 1, 2]
    with pytest.raises(IndexError):
        joined[3]
