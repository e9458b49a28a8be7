"""RAGFormer as a method: one network of graphs, without a foundation."""

import pytest

from lorkit.decompose.config import ImageConfig, default_config
from lorkit.decompose.errors import UsageError
from lorkit.decompose.methods import get_method
from lorkit.decompose.models.backbones.graphs.ragformer import Ragformer
from lorkit.decompose.regions import Region, RegionSet

REGIONS = RegionSet(Region(name=name, task="node", classes=("no", "yes")) for name in ("bank", "shop"))


def test_one_network_has_a_head_for_each_graph() -> None:
    config = default_config(overrides=["student.backbone='ragformer:width=8,heads=2,layers=1'"], method="ragformer")
    config = config.model_copy(update={"image": ImageConfig.of_nodes((4, 2, 2, 4))})
    module = get_method("ragformer").build(config, REGIONS, None)
    assert isinstance(module.live.backbone, Ragformer)
    assert list(module.live.heads) == ["bank", "shop"]
    assert not get_method("ragformer").uses_teacher


def test_images_are_refused() -> None:
    with pytest.raises(UsageError, match="method ragformer for images; required: regions that are graphs"):
        get_method("ragformer").build(default_config(method="ragformer"), REGIONS, None)
