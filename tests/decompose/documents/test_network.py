from __future__ import annotations

from types import SimpleNamespace

from lorkit.decompose.documents.network import NetworkInfo
from lorkit.decompose.regions import Region


def test_it_states_its_region_and_the_shape_of_its_input() -> None:
    region = Region(name="organ", task="segmentation", classes=("core", "rim"), modality="CT", synthetic=True)
    info = NetworkInfo.model_construct(
        region="organ", task="segmentation", classes=["core", "rim"], modality="CT", synthetic=True,
        recipe=SimpleNamespace(shape=(1, 4, 5, 6)),
    )  # fmt: skip
    assert info.as_region() == region
    assert info.recipe.shape == (1, 4, 5, 6)
