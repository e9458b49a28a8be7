from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from small_graphs import graph_config, write_payments

from lorkit.decompose import train
from lorkit.decompose.config import load_config
from lorkit.decompose.data.graphs.leakage import measure_leakage
from lorkit.decompose.data.node_samples import NodeSamples
from lorkit.decompose.events import ignore
from lorkit.decompose.runs import Run, open_run
from lorkit.decompose.runs.locked_data import RunSplits
from lorkit.export.reporting.graphs import graphs_of


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    root = tmp_path_factory.mktemp("graphs")
    return open_run(train(graph_config(root, **{"split.by": "random"}), out=root / "runs").run)


def test_the_split_of_the_run_is_measured_on_its_locked_parts(run: Run) -> None:
    splits, warnings = RunSplits(run), list[str]()
    found = graphs_of(splits, warnings, ignore)["fraud"]
    assert not warnings
    assert (found.nodes, found.labelled, list(found.relation_facts)) == (120, 120, ["user", "shop"])
    assert [kind for kind, split in found.splits.items() if split.chosen] == ["random"]
    samples = splits.samples("fraud")
    assert isinstance(samples, NodeSamples)
    parts = np.full(120, None, dtype=object)
    for part, indices in splits.parts("fraud").items():
        parts[samples.rows[indices]] = part
    wanted = [row for hops in (1, 2) for row in measure_leakage(samples.graph, parts.tolist(), hops=hops)]
    assert {(row.relation, row.hops, row.exposed, row.right) for row in found.splits["random"].leakage} == {
        (row.relation, row.hops, row.share, row.right) for row in wanted
    }


def test_labels_are_seen_after_their_delay(tmp_path: Path) -> None:
    pytest.importorskip("polars", reason="the extra 'graph' is not installed")
    graph_config(tmp_path)
    write_payments(tmp_path / "p.csv", rows=120)
    text = (tmp_path / "decompose.yaml").read_text(encoding="utf-8")
    table = "{data: p.csv, relations: [user, shop], time: time, label: is_fraud, classes: ['0', '1']}"
    path = tmp_path / "p.yaml"
    path.write_text(re.sub(r"fraud: .*", f"fraud: {table}\ngraph: {{label_delay: 40}}", text), encoding="utf-8")
    splits = RunSplits(open_run(train(load_config(path), out=tmp_path / "runs").run))
    samples = splits.samples("fraud")
    assert isinstance(samples, NodeSamples)
    parts = np.full(120, None, dtype=object)
    for part, indices in splits.parts("fraud").items():
        parts[samples.rows[indices]] = part
    found = graphs_of(splits, [], ignore)["fraud"].splits["random"].leakage
    with_delay, without = (measure_leakage(samples.graph, parts.tolist(), label_delay=delay) for delay in (40, 0))
    assert [row.exposed for row in found] == [row.share for row in with_delay] != [row.share for row in without]


def test_it_is_measured_once(run: Run) -> None:
    first = graphs_of(RunSplits(run), [], ignore)

    class Closed(RunSplits):
        def samples(self, region: str) -> NodeSamples:
            raise AssertionError(region)

    assert graphs_of(Closed(run), [], ignore) == first


def test_a_graph_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    other = open_run(train(graph_config(tmp_path), out=tmp_path / "runs").run)
    (tmp_path / "fraud.npz").unlink()
    warnings: list[str] = []
    assert graphs_of(RunSplits(other), warnings, ignore) == {}
    (text,) = warnings
    assert text.startswith("Not measured: what the split of fraud")
    assert not (other.measurements_dir / "graphs.json").exists()


def test_a_run_of_images_has_none(measured_run: Path) -> None:
    assert graphs_of(RunSplits(open_run(measured_run)), [], ignore) == {}
