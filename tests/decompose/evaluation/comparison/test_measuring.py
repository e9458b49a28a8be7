"""What a cell of a fitted baseline holds."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from fitted_nodes import nodes_of

from lorkit.decompose.config import Config, default_config
from lorkit.decompose.data.prepared import PreparedRegion
from lorkit.decompose.documents.compare import Exposure
from lorkit.decompose.errors import DataError
from lorkit.decompose.evaluation.comparison.comparison_data import ComparisonData
from lorkit.decompose.evaluation.comparison.measuring import measure_fitted, scored_parts
from lorkit.decompose.events import Listener, ignore
from lorkit.decompose.methods.graphs.base import FittedBaseline, FittedNodes
from lorkit.decompose.regions import RegionSet
from lorkit.decompose.training.training_data import TrainingData


class Ranked(FittedBaseline):
    """Scores a node by its first feature."""

    name = "ranked"

    def constants(self) -> dict[str, Any]:
        return {}

    def fit(self, config: Config, train: PreparedRegion, val: PreparedRegion, on_event: Listener) -> FittedNodes:
        self.seen = (train, val)

        def logits(part: PreparedRegion) -> np.ndarray:
            score = part.stored[:, -2, 0, 0, 0]
            return np.stack([-score, score], 1)

        return FittedNodes(
            logits=logits, parameters=3, macs=2, size=12, exposure=Exposure(optimiser_steps=7, images=70)
        )


def data_of(*, test: bool, bad: bool = False) -> ComparisonData:
    rng = np.random.default_rng(0)
    parts = {part: nodes_of(rng.normal(0, 1, (40, 2)), np.arange(40) % 2) for part in ("train", "val", "test")}
    if bad:
        parts["test"].stored[3, -2, 0, 0, 0] = np.nan
    training = TrainingData(
        regions=RegionSet([parts["train"].region]), train={"bank": parts["train"]}, val={"bank": parts["val"]}
    )
    return ComparisonData(
        training_data=training, test={"bank": parts["test"]} if test else None, foundation=None, digest="x"
    )


@pytest.mark.parametrize("test", [True, False])
def test_every_part_is_scored_and_the_test_part_is_not_fitted(test: bool) -> None:
    data, method = data_of(test=test), Ranked()
    found = measure_fitted(method, default_config(), data, ignore)
    assert [id(one) for one in method.seen] == [
        id(data.training_data.train["bank"]),
        id(data.training_data.val["bank"]),
    ]
    assert (
        set(found.evidence) == set(found.regions) == set(scored_parts(data)) == ({"val", "test"} if test else {"val"})
    )
    assert np.array_equal(found.evidence["val"]["bank"][:, 1], data.training_data.val["bank"].stored[:, 2, 0, 0, 0])
    assert (found.costs.parameters, found.costs.macs, found.costs.deployed_bytes) == (3, 2, 12)
    assert found.exposure == {"bank": Exposure(optimiser_steps=7, images=70)}
    (row,) = found.history
    assert row["val"]["mean"] == pytest.approx(found.regions["val"]["bank"].ap)


def test_a_score_that_is_no_number_is_refused() -> None:
    with pytest.raises(DataError, match="NaN or infinite"):
        measure_fitted(Ranked(), default_config(), data_of(test=True, bad=True), ignore)
