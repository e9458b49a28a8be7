from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lorkit.decompose.errors import UsageError
from lorkit.decompose.models.backbones.graphs.ragformer import Ragformer, ragformer
from lorkit.decompose.models.backbones.graphs.variants import changed_ragformer, parse_ragformer, ragformer_name
from lorkit.decompose.models.backbones.registry import build_backbone

WHOLE, PROBABILITY = st.integers(1, 10**6), st.floats(0, 1, exclude_max=True)
SIZES = {
    **dict.fromkeys(("width", "feedforward", "layers", "heads"), WHOLE),
    **dict.fromkeys(("dropout", "topology_dropout", "label_dropout"), PROBABILITY),
    **dict.fromkeys(("mixing", "topology", "fusion", "group_sizes"), st.booleans()),
}
DEFAULTS = Ragformer.__init__.__kwdefaults__


@given(st.fixed_dictionaries({}, optional=SIZES))
def test_a_name_states_every_size_that_is_not_the_default(sizes: dict[str, Any]) -> None:
    assert {**DEFAULTS, **parse_ragformer(ragformer_name(**sizes))} == {**DEFAULTS, **sizes}


def test_names_are_short_and_in_one_order() -> None:
    assert ragformer_name() == ragformer_name(width=64, mixing=True) == "ragformer"
    assert ragformer_name(topology=False, width=32) == "ragformer:width=32,topology=false"
    assert parse_ragformer("ragformer") == {}
    assert parse_ragformer("ragformers") is None


def test_a_change_keeps_the_other_sizes() -> None:
    assert changed_ragformer("ragformer:width=32,topology=false", mixing=False) == (
        "ragformer:width=32,mixing=false,topology=false"
    )
    assert changed_ragformer("resnet18", fusion=False) == "ragformer:fusion=false"


def test_a_network_is_built_from_its_name() -> None:
    sizes = {"width": 8, "feedforward": 12, "layers": 2, "heads": 2, "topology": False, "dropout": 0.25}
    torch.manual_seed(0)
    found = build_backbone(ragformer_name(**sizes), channels=4, image_size=(3, 2, 6))
    torch.manual_seed(0)
    wanted = ragformer(4, (3, 2, 6), **sizes)
    assert str(found) == str(wanted)
    assert all(torch.equal(a, b) for a, b in zip(found.parameters(), wanted.parameters(), strict=True))
    assert len(build_backbone(f"mmoe-2:{ragformer_name(**sizes)}", channels=4, image_size=(3, 2, 6)).encoders) == 2


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("widht=8", r"unknown size of ragformer 'widht'.*did you mean 'width'"),
        ("width=wide", r"width 'wide' of backbone 'ragformer:width=wide'; required: a whole number"),
        ("fusion=no", r"fusion 'no'.*true or false"),
        ("dropout", r"dropout ''.*a number"),
    ],
)
def test_other_sizes_are_refused(text: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        build_backbone(f"ragformer:{text}", channels=4, image_size=(3, 2, 6))
