"""A store says what it was made for; another network is told the first difference."""

from __future__ import annotations

import json

import pytest
from streams import CLASSES, node_input

from lorkit.decompose.errors import ArtifactError
from lorkit.export.serving.counters import Layout, check_header


def layout(**changes: object) -> Layout:
    return Layout.of(node_input(**changes), CLASSES)


def test_the_header_depends_on_what_the_sums_are_made_of() -> None:
    check_header(layout().header, layout(hops=2, timed=False, group_sizes=False), "s.db")
    assert layout().shape == (3, 3)
    content = json.loads(layout().header)
    assert content["format"] == 1
    assert content["relations"] == ["card", "shop"]
    assert content["digest"] != json.loads(layout(std=(1.0, 1.0)).header)["digest"]


@pytest.mark.parametrize(
    ("stored", "said"),
    [
        ("no JSON", "header cannot be read"),
        ("[]", "header cannot be read"),
        (layout(scaling="none").header, "s.db was made for the scaling none; required: log-standard"),
        (layout().header.replace('"format": 1', '"format": 2'), "made for the format 2; required: 1"),
        (layout().header.replace('"digest": "', '"digest": "0'), "another digest than its content"),
        (layout(features=tuple("abcdefgh" * 9), mean=(0.0,) * 72, std=(1.0,) * 72).header, r"\.\.\.; required"),
    ],
)
def test_another_header_is_refused(stored: str, said: str) -> None:
    with pytest.raises(ArtifactError, match=said):
        check_header(stored, layout(), "s.db")
