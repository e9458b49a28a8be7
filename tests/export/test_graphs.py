"""Graphs through the whole pipeline: trained, scored, extracted, exported, judged, reported."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from scipy.special import softmax
from small_graphs import graph_config, write_graph

from lorkit.decompose import evaluate, extract, train
from lorkit.decompose.data.prepared import PreparedRegion
from lorkit.decompose.documents.evaluate import NodeEvaluation
from lorkit.decompose.errors import DataError, UsageError
from lorkit.decompose.extraction import expert_builder
from lorkit.decompose.extraction.torch_program import write_program
from lorkit.decompose.runs import Run, open_run
from lorkit.decompose.runs.locked_data import RunSplits
from lorkit.export import bench, export, gate, predict, report, verify
from lorkit.export.runtime.engine import load_engine

ONNX: dict[str, str] = {"target": "onnx", "profile": "cpu-generic"}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A RAGFormer of one epoch, extracted and exported; never write into it but measurements."""
    root = tmp_path_factory.mktemp("graphs")
    config = graph_config(root, **{"regions.fraud.recall_at": "[0.1, 7, 500]"})
    found = open_run(train(config, out=root / "runs").run)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(expert_builder, "write_program", write_program)  # which the program of the card reads
        extract(found)
    export(found.path, **ONNX)
    return found


def test_a_run_of_ragformer_has_no_foundation(run: Run) -> None:
    assert not run.has_foundation
    assert not run.foundation_dir.exists()
    with pytest.raises(UsageError, match="has no foundation"):
        evaluate(run.path, model="foundation")
    with pytest.raises(UsageError, match=r"has no foundation .* name it with --baseline"):
        gate(run.path)


def test_scores_are_those_of_nodes(run: Run) -> None:
    block = evaluate(run.path).regions["fraud"]
    assert {"auroc", "ap", "f1_macro", "gmean", "recall_at_k"} <= set(block.ci)
    assert block.n == len(RunSplits(run).parts("fraud")["test"])


def test_recall_is_among_the_stated_nodes_everywhere(run: Run) -> None:
    document = evaluate(run.path)
    block = document.regions["fraud"]
    assert isinstance(block, NodeEvaluation)
    assert [(row.at, row.k) for row in block.recall_at] == [(0.1, 4), (7, 7), (500, 40)]
    assert block.recall_at_k == block.recall_at[0].recall
    assert (block.recall_at[2].recall, block.labels["1"].k) == (1.0, 4)
    assert any("has 40 nodes: recall_at 500 looks at all of them" in text for text in document.warnings)
    alone = evaluate(run.experts_dir / "fraud", data=run.path.parent.parent / "fraud.npz").regions["fraud"]
    assert [row.at for row in alone.recall_at] == [0.1, 7, 500]  # type: ignore[union-attr]
    text = report(run.path).files[0].read_text(encoding="utf-8")
    assert "0.1 of all" in text
    card = (run.experts_dir / "fraud" / "README.md").read_text(encoding="utf-8")
    assert "Recall among the first 4 nodes" in card
    assert "as many as are positive" not in card


def test_openvino_takes_a_ragformer_in_int8(run: Run) -> None:
    pytest.importorskip("openvino", reason="openvino is not installed")
    export(run.path, target="openvino", profile="cpu-generic", precision="int8")
    path = run.exports_dir / "fraud" / "openvino-cpu-generic-int8"
    about = json.loads((path / "export.json").read_text(encoding="utf-8"))
    assert about["parity"]["status"] == "passed"
    assert len(about["lowering"]["kept_fp32"]) >= 3  # products of the joined tokens of both encoders
    part: PreparedRegion = RunSplits(run).part("fraud", "test")
    nodes = np.array(part.images)
    with load_engine(path) as engine, load_engine(run.exports_dir / "fraud" / "onnx-cpu-generic-fp32") as exact:
        shares = [softmax(one.run(nodes).astype(np.float64), axis=1) for one in (engine, exact)]
    assert np.abs(shares[0] - shares[1]).max() < 0.05


def test_the_export_scores_like_the_expert_in_every_batch(run: Run) -> None:
    part: PreparedRegion = RunSplits(run).part("fraud", "test")
    nodes = np.array(part.images)
    with load_engine(run.exports_dir / "fraud" / "onnx-cpu-generic-fp32") as engine:
        whole = engine.run(nodes)
        ones = np.concatenate([engine.run(nodes[row : row + 1]) for row in range(7)])
        assert np.abs(engine.run(nodes[::-1].copy())[::-1] - whole).max() < 1e-5
    np.testing.assert_allclose(ones, whole[:7], atol=1e-5)
    assert all(row.label_flips == 0 for row in verify(run.path).exports)


def test_the_example_scores_nodes_without_lorkit(run: Run, tmp_path: Path) -> None:
    export_dir = run.exports_dir / "fraud" / "onnx-cpu-generic-fp32"
    nodes = np.array(RunSplits(run).part("fraud", "test").images[:3])
    np.save(tmp_path / "nodes.npy", nodes)
    command = [sys.executable, str(export_dir / "example.py"), str(tmp_path / "nodes.npy")]
    told = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
    rows = [json.loads(line) for line in told.stdout.splitlines()]
    with load_engine(export_dir) as engine:
        logits, decision = engine.run(nodes).astype(np.float64), engine.exported.info.decision
    assert decision is not None
    assert decision.temperature is not None
    margins, limit = (logits[:, 1] - logits[:, 0]) / decision.temperature, decision.thresholds["1"]
    shares = 1 / (1 + np.exp(-margins))
    np.testing.assert_allclose([list(row["probabilities"].values()) for row in rows], np.stack([1 - shares, shares], 1))
    np.testing.assert_allclose([row["score"] for row in rows], 2 * shares - 1, atol=1e-6)
    assert [row["answer"] for row in rows] == ["1" if share >= limit else "0" for share in shares]
    text = (export_dir / "README.md").read_text(encoding="utf-8")
    assert "relations: user, shop" in text
    assert "neighbours within 2 hops" in text
    assert "Features are scaled before the mean: the normal score of the rank among the training nodes" in text


@pytest.mark.parametrize("target", ["onnx", "openvino"])
def test_the_input_of_an_engine_is_named_for_what_it_takes(run: Run, target: str) -> None:
    export(run.path, target=target, profile="cpu-generic")
    directory = run.exports_dir / "fraud" / f"{target}-cpu-generic-fp32"
    assert [one.name for one in onnx.load(directory / "model.onnx").graph.input] == ["nodes"]
    with np.load(directory / "samples.npz") as samples, load_engine(directory) as engine:
        found = engine.infer({"nodes": samples["nodes"]})["logits"]
        np.testing.assert_allclose(found, samples["logits"], atol=1e-5)
        with pytest.raises(DataError, match="the inputs image; required: nodes"):
            engine.infer({"image": samples["nodes"]})
    assert "- input `nodes`: float32 (N, 4, 2, 3, 4)" in (directory / "README.md").read_text(encoding="utf-8")


def test_the_card_scores_nodes_by_the_threshold_with_torch_alone(run: Run, tmp_path: Path) -> None:
    expert = tmp_path / "expert"
    shutil.copytree(run.path / "experts" / "fraud", expert)
    nodes = np.array(RunSplits(run).part("fraud", "test").images)
    np.save(expert / "nodes.npy", nodes)
    with load_engine(run.exports_dir / "fraud" / "onnx-cpu-generic-fp32") as engine:
        logits, info = engine.run(nodes).astype(np.float64), engine.exported.info
    assert info.decision is not None
    shares = 1 / (1 + np.exp((logits[:, 0] - logits[:, 1]) / (info.temperature or 1.0)))
    document = json.loads((expert / "expert.json").read_text(encoding="utf-8"))
    assert document["decision"] == info.decision.to_json()
    limit = document["decision"]["thresholds"]["1"] = float(np.median(shares)) + 1e-9  # so that both answers are given
    (expert / "expert.json").write_text(json.dumps(document), encoding="utf-8")
    (program,) = re.findall(r"```python\n(.*?)```", (expert / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    told = subprocess.run(
        [sys.executable, "-c", program], cwd=expert, capture_output=True, text=True, check=True, timeout=120
    )
    found = [line.rsplit(" ", 1)[1] for line in told.stdout.splitlines()]
    near = np.abs(shares - limit) < 1e-6  # of torch's rounding
    assert [answer for answer, skip in zip(found, near, strict=True) if not skip] == [
        info.classes[int(share >= limit)] for share, skip in zip(shares, near, strict=True) if not skip
    ]
    assert set(found) == {"0", "1"}


def test_files_are_no_input_of_a_graph(run: Run, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="which scores the nodes of a graph"):
        predict(run.exports_dir / "fraud" / "onnx-cpu-generic-fp32", [tmp_path / "x.png"])


def test_targets_of_images_refuse_nodes_by_name(run: Run) -> None:
    with pytest.raises(UsageError, match="target triton takes images, and fraud is of the nodes of a graph"):
        export(run.path, region="fraud", target="triton", profile="cpu-generic")


def test_it_is_timed_judged_and_reported(run: Run, tmp_path: Path) -> None:
    others = shutil.ignore_patterns("openvino*")  # a report would time them, too
    run = open_run(shutil.copytree(run.path, tmp_path / "runs" / run.path.name, ignore=others))
    (row,) = bench([run.exports_dir / "fraud" / "onnx-cpu-generic-fp32"], max_seconds=0.1).exports
    assert row.end_to_end is None
    baseline = run.exports_dir / "student" / "fraud" / "onnx-cpu-generic-fp32"
    document = gate(run.path, baseline=baseline, max_seconds=0.1)
    assert document.regions["fraud"].accuracy_test is not None
    assert document.regions["fraud"].accuracy_test.drop == 0.0
    written = report(run.path)
    html, markdown = (path.read_text(encoding="utf-8") for path in written.files[:2])
    for title in ("Precision and recall", "ROC", "Recall at k", "Calibration", "Scores of the expert"):
        assert f"<h4>{title}</h4>" in html
    assert "the split of this run" in html
    assert "| stated, of this run |" in markdown
    assert report(run.path).up_to_date


def test_another_graph_is_scored_whole(run: Run, tmp_path: Path) -> None:
    other = write_graph(tmp_path / "other.npz", seed=5, parts=False)
    assert evaluate(run.path, data=other).regions["fraud"].n == 120
    stated = write_graph(tmp_path / "stated.npz", seed=5)
    assert evaluate(run.path, data=stated).regions["fraud"].n == 80  # not its training part


def test_a_small_student_is_judged_against_ragformer(tmp_path: Path) -> None:
    config = graph_config(tmp_path, method="stl-kd")
    config = config.model_copy(update={"student": config.student.model_copy(update={"backbone": "node_mlp"})})
    found = open_run(train(config, out=tmp_path / "runs").run)
    extract(found)
    export(found.path, owners=("expert", "foundation"), **ONNX)
    document = gate(found.path, max_seconds=0.1)
    block = document.regions["fraud"]
    assert (block.accuracy_test.n, block.deterministic.costs["macs"].baseline) == (40, 5280)  # type: ignore[union-attr]


def test_experts_of_two_graphs_are_merged(tmp_path: Path) -> None:
    found = open_run(train(graph_config(tmp_path, "a", "b", method="lorkd"), out=tmp_path / "runs").run)
    results = extract(found)
    assert [one.region for one in results] == ["a", "b"]
    assert max(one.max_difference for one in results) < 1e-5
    with pytest.raises(UsageError, match="region-id of the graphs"):
        extract(found, region_id=True)
