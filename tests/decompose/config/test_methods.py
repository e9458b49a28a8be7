from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from lorkit.decompose.config import ExpertConfig


def test_rank_and_scale_by_region() -> None:
    config = ExpertConfig(rank=8, ranks={"brain": 4}, alpha=16)
    assert (config.rank_of("brain"), config.scale_of("brain")) == (4, 4.0)
    assert (config.rank_of("chest"), config.scale_of("chest")) == (8, 2.0)


@pytest.mark.parametrize(
    "values", [{"rank": 0}, {"ranks": {"a": 0}}, {"alpha": 0.0}, {"layout": "cube"}, {"norm": "none"}]
)
def test_what_no_layer_can_be_built_from_is_refused(values: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        ExpertConfig(**values)
