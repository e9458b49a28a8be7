from __future__ import annotations

from typing import Any

import pytest

from lorkit.decompose.errors import UsageError
from lorkit.decompose.experts import ExpertConfig


def test_rank_and_scale_by_region() -> None:
    config = ExpertConfig(rank=8, ranks={"brain": 4}, alpha=16)
    assert (config.rank_of("brain"), config.scale_of("brain")) == (4, 4.0)
    assert (config.rank_of("chest"), config.scale_of("chest")) == (8, 2.0)


@pytest.mark.parametrize(
    "values", [{"rank": 0}, {"ranks": {"a": 0}}, {"alpha": 0.0}, {"layout": "cube"}, {"norm": "none"}]
)
def test_what_no_layer_can_be_built_from_is_refused(values: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        ExpertConfig(**values)


def test_a_rank_for_an_unknown_region_names_the_known() -> None:
    with pytest.raises(UsageError, match=r"unknown region 'brian'.*brain, chest; did you mean 'brain'"):
        ExpertConfig(ranks={"brian": 2}).check_regions(["brain", "chest"])
