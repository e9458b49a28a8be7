"""The training section: bounds that hold between its keys."""

import pytest

from lorkit.decompose.config import default_config
from lorkit.decompose.errors import UsageError


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["train.accumulate=4", "train.batch_size=7"], r"train.batch_size 8 or more for train.accumulate 4"),
        (["train.compile=true", "train.checkpointing=true"], r"train.compile or train.checkpointing, not both"),
    ],
)
def test_keys_that_exclude_each_other_are_refused(overrides: list[str], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        default_config(overrides=overrides)
