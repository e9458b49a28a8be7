"""What the graphs of a configuration decide: shape, scaling and networks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from small_graphs import graph_config, write_graph, write_payments
from small_runs import write_data

from lorkit.decompose.config import Config, load_config
from lorkit.decompose.config.loading import with_overrides
from lorkit.decompose.data import read_regions, split_regions
from lorkit.decompose.errors import UsageError
from lorkit.decompose.methods import get_method
from lorkit.decompose.training.graph_settings import resolve_graphs


def resolved(config: Config) -> Config:
    samples = read_regions(config)
    splits = split_regions(samples, config.split, seed=0)
    return resolve_graphs(config, get_method(config.method), samples, splits)


def test_the_image_section_is_the_shape_of_a_node(tmp_path: Path) -> None:
    found = resolved(graph_config(tmp_path, "a", "b"))
    assert found.image.nodes
    assert (found.image.channels, found.image.size) == (4, (2, 3, 4))
    assert found.base == tmp_path
    for name in "ab":
        nodes = found.regions[name].nodes
        assert nodes is not None
        assert nodes.relations == ("user", "shop")
    assert found.regions["a"].nodes != found.regions["b"].nodes  # each has its own scaling


@pytest.mark.parametrize(
    ("method", "student"),
    [("ragformer", "ragformer"), ("lorkd", "ragformer"), ("rd", "node_mlp"), ("stl-kd", "node_mlp")],
)
def test_networks_of_images_are_replaced_and_chosen_ones_stay(tmp_path: Path, method: str, student: str) -> None:
    config = graph_config(tmp_path)
    plain = with_overrides(config, ["foundation.backbone=resnet50", "student.backbone=resnet18"], method=method)
    found = resolved(plain)
    assert (found.foundation.backbone, found.student.backbone) == ("ragformer", student)
    chosen = resolved(with_overrides(config, method=method))
    assert (chosen.foundation.backbone, chosen.student.backbone) == (
        config.foundation.backbone,
        config.student.backbone,
    )


def test_graphs_beside_images_are_refused(tmp_path: Path) -> None:
    config = graph_config(tmp_path)
    write_data(tmp_path / "chest.npz", ("no", "yes"))
    mixed = with_overrides(config, [f"regions.chest.data={tmp_path / 'chest.npz'}"])
    with pytest.raises(UsageError, match=r"graphs \(fraud\) beside images \(chest\)"):
        resolved(mixed)


def test_graphs_of_other_shapes_are_refused(tmp_path: Path) -> None:
    config = graph_config(tmp_path, "a", "b")
    write_graph(tmp_path / "b.npz")
    with np.load(tmp_path / "b.npz") as known:
        arrays = dict(known)
    np.savez(tmp_path / "b.npz", **{**arrays, "features": arrays["features"][:, :2]})
    with pytest.raises(UsageError, match=r"nodes of 'a' are .* 3 features, those of 'b' .* 2 features"):
        resolved(config)


def test_the_same_columns_in_another_order_are_refused(tmp_path: Path) -> None:
    config = graph_config(tmp_path, "a", "b")
    with pytest.raises(UsageError, match="'b' has the relations shop, user, and 'a' the same as user, shop"):
        resolved(with_overrides(config, ["regions.b.relations=[shop,user]"]))
    for name, order in (("a", ["x", "y", "z"]), ("b", ["y", "x", "z"])):
        with np.load(tmp_path / f"{name}.npz") as known:
            arrays = dict(known)
        np.savez(tmp_path / f"{name}.npz", **arrays, feature_names=np.array(order))
    with pytest.raises(UsageError, match="'b' has the features y, x, z, and 'a' the same as x, y, z"):
        resolved(config)


def test_a_delay_needs_times_of_one_form(tmp_path: Path) -> None:
    pytest.importorskip("polars", reason="the extra 'graph' is not installed")
    days = [f"2024-{1 + row // 28 % 12:02d}-{1 + row % 28:02d}" for row in range(200)]
    write_payments(tmp_path / "a.csv")
    write_payments(tmp_path / "b.csv", time=days)
    table = "relations: [user, shop], time: time, label: is_fraud, classes: ['0', '1']"
    text = f"method: ragformer\nregions:\n  a: {{data: a.csv, {table}}}\n  b: {{data: b.csv, {table}}}\n"
    (tmp_path / "decompose.yaml").write_text(text, encoding="utf-8")
    config = load_config(tmp_path / "decompose.yaml")
    found = resolved(config)
    assert [found.regions[name].nodes.times for name in "ab"] == ["numbers", "dates"]  # type: ignore[union-attr]
    with pytest.raises(UsageError, match="label_delay with times of 'a', which are numbers, and 'b', dates"):
        resolved(with_overrides(config, ["graph.label_delay=5"]))
