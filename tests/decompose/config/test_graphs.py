"""The settings of graphs."""

import pytest
from pydantic import ValidationError

from lorkit.decompose.config import ImageConfig, default_config, load_config
from lorkit.decompose.config.graphs import GraphConfig, NodeInput
from lorkit.decompose.config.loading import to_yaml

NODES = NodeInput(
    relations=("r",), features=("a", "b"), class_count=2, hops=1, group_sizes=True, keys=False, timed=False,
    label_delay=0.0, scaling="none", mean=(0.0, 1.0), std=(1.0, 2.0),
)  # fmt: skip


def test_a_node_has_groups_relations_hops_and_values() -> None:
    assert NODES.shape == (4, 1, 2, 3)
    image = ImageConfig.of_nodes(NODES.shape)
    assert (image.channels, image.size, image.mean, image.std) == (4, (1, 2, 3), (0.0,) * 4, (1.0,) * 4)


def test_the_resolved_input_is_stored_with_the_run(tmp_path) -> None:  # type: ignore[no-untyped-def]
    config = default_config(overrides=["regions={fraud: {data: x.npz}}"])
    region = config.regions["fraud"].model_copy(update={"nodes": NODES})
    resolved = config.model_copy(update={"regions": {"fraud": region}, "image": ImageConfig.of_nodes(NODES.shape)})
    (tmp_path / "config.yaml").write_text(to_yaml(resolved), encoding="utf-8")
    again = load_config(tmp_path / "config.yaml")
    assert (again.regions["fraud"].nodes, again.image) == (NODES, resolved.image)


@pytest.mark.parametrize(
    "wrong", [{"folds": 1}, {"folds": -1}, {"hops": 0}, {"label_delay": -1}, {"scaling": "minmax"}]
)
def test_settings_out_of_bounds_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        GraphConfig.model_validate(wrong)


def test_each_feature_has_a_scaling() -> None:
    with pytest.raises(ValidationError, match="one std per feature"):
        NODES.model_validate({**NODES.model_dump(), "std": (1.0,)})


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"scaling": "quantile"}, "knots of 2 features for the scaling quantile, not 0"),
        ({"knots": ((0.0, 1.0), (0.0, 1.0))}, "knots of 0 features for the scaling none, not 2"),
        ({"scaling": "quantile", "knots": ((1.0, 0.0), (0.0, 1.0))}, "knots that ascend"),
    ],
)
def test_only_quantiles_have_knots(changed: dict[str, object], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        NODES.model_validate({**NODES.model_dump(), **changed})
