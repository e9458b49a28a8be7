"""The perceptron that sees no neighbour."""

from __future__ import annotations

from lorkit.decompose.config import ImageConfig, default_config
from lorkit.decompose.methods import get_method
from lorkit.decompose.models.backbones.graphs.mlp import NodeMlp
from lorkit.decompose.regions import Region, RegionSet

REGIONS = RegionSet(Region(name=name, task="node", classes=("no", "yes")) for name in ("bank", "shop"))


def test_it_reads_own_features_whatever_the_student_is() -> None:
    config = default_config(overrides=["student.backbone=ragformer"], method="mlp-own")
    config = config.model_copy(update={"image": ImageConfig.of_nodes((4, 3, 2, 4))})
    live = get_method("mlp-own").build(config, REGIONS, None).live
    assert isinstance(live.backbone, NodeMlp)
    assert live.backbone.own
    assert live.backbone.layers[0][0].in_features == 3
    assert list(live.heads) == ["bank", "shop"]
