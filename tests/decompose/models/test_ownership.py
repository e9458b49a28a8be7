from __future__ import annotations

import pytest

from lorkit.decompose.models.ownership import owner_of


@pytest.mark.parametrize(
    ("key", "owner"),
    [
        ("backbone.conv1.up.chest", "chest"),
        ("backbone.conv1.down.knee", "knee"),
        ("backbone.dw.kernel.chest", "chest"),
        ("backbone.bn1.regions.knee.running_mean", "knee"),
        ("heads.chest.weight", "chest"),
        ("gates.knee.bias", "knee"),
        ("models.knee.backbone.conv1.weight", "knee"),
        ("backbone.conv1.base.weight", None),
        ("backbone.chest.weight", None),  # a layer that is named like a region
        ("backbone.up.0.weight", None),
        ("heads.wrist.weight", None),
        ("heads", None),
    ],
)
def test_a_key_tells_whose_it_is(key: str, owner: str | None) -> None:
    assert owner_of(key, {"chest", "knee"}) == owner
