"""The sections of the configuration: bounds of images and nodes, and ways to split."""

import pytest
from pydantic import ValidationError

from lorkit.decompose.config import Config, ImageConfig, SplitConfig, default_config
from lorkit.decompose.errors import UsageError


def test_images_keep_their_bounds() -> None:
    for wrong in ({"size": 4}, {"channels": 4}, {"size": [3, 2, 4], "channels": 4}):
        with pytest.raises(ValidationError):
            ImageConfig.model_validate(wrong)
    with pytest.raises(UsageError, match=r"channels 1 or 3, not 2"):
        default_config(overrides=["image.channels=2"])


def test_nodes_have_their_own_bounds() -> None:
    assert ImageConfig.of_nodes((4, 1, 2, 2)).size == (1, 2, 2)
    with pytest.raises(ValidationError, match=r"size of relations, hops \+ 1 and features \+ 1"):
        ImageConfig(nodes=True, size=(8, 8))


def test_neighbours_are_as_far_apart_as_nodes_see() -> None:
    regions = {"fraud": {"data": "x.npz"}}
    for graph, split, hops in (({}, {}, 2), ({"hops": 3}, {}, 3), ({"hops": 3}, {"hops": 1}, 1)):
        stated = {"regions": regions, "graph": graph, "split": {"by": "neighbour", **split}}
        config = Config.model_validate(stated)
        assert config.split.hops == hops
        assert Config.model_validate(config.model_dump(mode="json")).split.hops == hops
    assert Config.model_validate({"regions": regions, "graph": {"hops": 3}}).split.hops is None
    with pytest.raises(ValidationError, match=r"split.by neighbour with split.hops, not random"):
        SplitConfig(by="random", hops=1)


def test_entities_belong_to_a_split_by_entity() -> None:
    assert SplitConfig(by="entity", entities=("user",)).entities == ("user",)
    assert SplitConfig.model_validate({"by": "entity", "entities": "user"}).entities == ("user",)
    with pytest.raises(ValidationError, match=r"split.by entity with split.entities, not group"):
        SplitConfig(entities=("user",))
