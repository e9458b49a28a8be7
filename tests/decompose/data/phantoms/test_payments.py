"""The built-in graph of simulated payments."""

import hashlib

import numpy as np

from lorkit.decompose.data.graphs.graph import Keys
from lorkit.decompose.data.graphs.leakage import measure_leakage
from lorkit.decompose.data.phantoms.payments import payments


def test_it_is_the_same_on_every_machine_and_says_that_it_is_simulated() -> None:
    graph = payments()
    assert graph.synthetic
    assert list(graph.relations) == ["user", "shop", "device"]
    digest = hashlib.sha256()
    for relation in graph.relations.values():
        assert isinstance(relation, Keys)
        digest.update(relation.keys_N.astype("<i8").tobytes())
    assert digest.hexdigest()[:16] == "3a5f00d6b679365d"
    assert (graph.labels_N == payments().labels_N).all()


def test_later_payments_are_the_test_part() -> None:
    graph = payments()
    assert graph.times_N is not None
    parts = np.array([part or "" for part in graph.parts])
    assert graph.times_N[parts == "train"].max() <= graph.times_N[parts == "val"].min()
    assert graph.times_N[parts == "val"].max() <= graph.times_N[parts == "test"].min()
    assert (parts[graph.labels_N < 0] == "").all()


def test_devices_tell_more_than_payments() -> None:
    graph = payments()
    fraud = graph.labels_N == 1
    amounts = graph.features_NF[:, 0]
    assert 0.05 < fraud[graph.labels_N >= 0].mean() < 0.15
    # half of the honest payments are not below the median of fraud by more than the spread of one shop
    assert np.median(amounts[fraud]) < np.quantile(amounts[graph.labels_N == 0], 0.9)
    rows = {row.relation: row for row in measure_leakage(graph, graph.parts)}
    assert rows["device"].right is not None
    assert rows["user"].right is not None
    assert rows["device"].right > rows["user"].right + 0.05
