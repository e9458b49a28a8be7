"""One head of several as the engine of its region."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from mixtures import RouterNetwork
from torch import nn

from lorkit.export.runtime.engine import CheckedEngine, load_engine
from lorkit.export.runtime.exported import Exported
from lorkit.export.runtime.heads import HeadEngine, RoutedEngine, engine_of


def images(*levels: float) -> np.ndarray:
    """Images of the router by hand, which takes 0.3 for the first region and 0.7 for the second."""
    noise = np.random.default_rng(0).normal(0, 0.01, (len(levels), 1, 16, 16))
    return (np.array(levels)[:, None, None, None] + noise).astype(np.float32)


def opened(exported: Exported, region: str) -> HeadEngine:
    view = exported.of_head(region)
    engine = engine_of(load_engine(exported.path), view)
    assert isinstance(engine, HeadEngine)
    return engine


def test_a_view_has_the_region_of_its_head_and_all_else_of_the_whole(export_mixture: Callable[..., Exported]) -> None:
    exported = export_mixture("region-id")
    view = exported.of_head("knee")
    assert (view.region.name, view.classes, view.region_index) == ("knee", ("none", "mild", "severe"), 1)
    assert (view.key, view.path, view.describe()) == (exported.key, exported.path, exported.describe())
    assert (view.is_head, exported.is_head) == (True, False)
    assert view.head.output == "logits_knee"


@pytest.mark.parametrize("region", ["chest", "knee"])
def test_a_stated_region_is_given_to_the_network(region: str, export_mixture: Callable[..., Exported]) -> None:
    exported = export_mixture("region-id")
    given, index = images(0.3, 0.7, 0.5), ["chest", "knee"].index(region)
    with load_engine(exported.path) as whole, opened(exported, region) as engine:
        wanted = whole.infer({"image": given, "region": np.full(3, index)})[f"logits_{region}"]
        other = whole.infer({"image": given, "region": np.full(3, 1 - index)})[f"logits_{region}"]
        np.testing.assert_array_equal(engine.run(given), wanted)
        np.testing.assert_array_equal(engine.judged(given, np.zeros(3, np.int64)), wanted)
        assert isinstance(engine, HeadEngine)
        assert not isinstance(engine, RoutedEngine)
    assert np.abs(wanted - other).max() > 1e-4


def test_a_router_is_right_where_it_finds_the_region_and_wrong_elsewhere(
    export_mixture: Callable[..., Exported],
) -> None:
    exported = export_mixture("router", abstain_below=0.9)
    given, levels = images(0.3, 0.7, 0.5, 0.3), np.array([0.3, 0.7, 0.5, 0.3])
    with load_engine(exported.path) as whole, opened(exported, "chest") as engine:
        own = whole.infer({"image": given})["logits_chest"]
        np.testing.assert_array_equal(engine.run(given), own)
        targets = own.argmax(1)  # the head is right on all
        judged = engine.judged(given, targets)
    right = judged.argmax(1) == targets
    assert right.tolist() == (levels == 0.3).tolist()
    np.testing.assert_array_equal(judged[right], own[right])


def test_the_network_is_released_with_its_head(export_mixture: Callable[..., Exported]) -> None:
    exported = export_mixture("router")
    whole = load_engine(exported.path)
    assert engine_of(whole, exported) is whole
    engine_of(whole, exported.of_head("chest")).close()
    assert isinstance(whole, CheckedEngine)
    with pytest.raises(Exception, match="closed"):
        whole.infer({"image": images(0.5)})
    assert isinstance(RouterNetwork(), nn.Module)
