"""Methods for graphs refuse images, and baselines without a network refuse to be trained."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from fitted_nodes import nodes_of

from lorkit.decompose.config import Config, ImageConfig, default_config
from lorkit.decompose.errors import UsageError
from lorkit.decompose.methods import METHODS, get_method
from lorkit.decompose.methods.graphs.base import FittedBaseline, score_of
from lorkit.decompose.regions import Region, RegionSet
from lorkit.decompose.training.training import train

REGIONS = RegionSet([Region(name="bank", task="node", classes=("no", "yes"))])
OF_GRAPHS = [name for name, method in METHODS.items() if method.of_graphs]
FITTED = [name for name, method in METHODS.items() if isinstance(method, FittedBaseline)]


def test_there_are_networks_and_others() -> None:
    assert {"ragformer", "gaga", "mlp-own"} == set(OF_GRAPHS) - set(FITTED)
    assert {"trees-own", "trees-tokens"} <= set(FITTED)


@pytest.mark.parametrize("name", sorted(set(OF_GRAPHS) - set(FITTED)))
def test_images_are_refused(name: str) -> None:
    with pytest.raises(UsageError, match=f"method {name} for images; required: regions that are graphs"):
        get_method(name).build(default_config(method=name), REGIONS, None)


@pytest.mark.parametrize("name", FITTED)
def test_nothing_is_trained_that_cannot_be_deployed(
    name: str, configured: Callable[..., Config], tmp_path: Path
) -> None:
    method = get_method(name)
    config = default_config(method=name).model_copy(update={"image": ImageConfig.of_nodes((4, 2, 2, 4))})
    for refused in (lambda: method.build(config, REGIONS, None), lambda: method.network(config, REGIONS)):
        with pytest.raises(UsageError, match=f"method {name} to train a network.*compare --methods {name},ragformer"):
            refused()
    with pytest.raises(UsageError, match=f"method {name} "):
        train(configured(tmp_path, method=name))


def test_validation_chooses_by_the_average_precision() -> None:
    part = nodes_of(np.zeros((4, 1)), np.array([0, 1, 1, 0]))
    logits = np.array([[0, 3], [0, 2], [0, 1], [0, 0]], dtype=np.float32)
    assert score_of(part, logits) == pytest.approx((1 / 2 + 2 / 3) / 2)
    assert score_of(part, logits + 7) == score_of(part, logits)
