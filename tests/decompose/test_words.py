"""Numbers stand with their nouns as people write them."""

from __future__ import annotations

import pytest

from lorkit.decompose.errors import counted


@pytest.mark.parametrize(
    ("count", "plural", "words"), [(0, "", "0 cases"), (1, "", "1 case"), (2, "", "2 cases"), (2, "lot", "2 lot")]
)
def test_one_is_singular(count: int, plural: str, words: str) -> None:
    assert counted(count, "case", plural=plural) == words
