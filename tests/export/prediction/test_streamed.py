"""A trained network scores a stream as it scores the whole table, and a filled store is what the stream leaves."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from redis_servers import RedisServer

from lorkit.decompose import extract, train
from lorkit.decompose.config import load_config
from lorkit.decompose.data.node_samples import NodeSamples
from lorkit.decompose.errors import ArtifactError, UsageError
from lorkit.decompose.runs import Run, open_run
from lorkit.decompose.runs.locked_data import RunSplits
from lorkit.export import export, load_engine, stream
from lorkit.export.serving.scores import Score
from lorkit.export.serving.scoring import Scorer


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A RAGFormer of one epoch on a table with two keys and a time, extracted and exported."""
    root = tmp_path_factory.mktemp("streams")
    random = np.random.default_rng(0)
    lines = ["id,card,shop,amount,age,time,label"]
    for at in range(90):
        card, shop, label = random.integers(0, 9), random.integers(0, 6), int(at % 3 == 0)
        shop_text = "" if shop == 5 else f"s{shop}"
        lines.append(f"t{at},{card:03},{shop_text},{random.normal() + label:.4f},{random.random():.4f},{at},{label}")
    (root / "rows.csv").write_text("\n".join(lines), encoding="utf-8")
    small = "ragformer:width=8,feedforward=8,layers=1,heads=2"
    region = "{data: rows.csv, relations: [card, shop], time: time, id: id, classes: ['0', '1'], simulated: true}"
    text = f"name: small\nmethod: ragformer\nregions:\n  fraud: {region}\nstudent: {{backbone: '{small}'}}\n"
    text += f"foundation: {{backbone: '{small}'}}\ntrain: {{epochs: 1, batch_size: 16}}\n"
    (root / "decompose.yaml").write_text(text, encoding="utf-8")
    found = open_run(train(load_config(root / "decompose.yaml"), out=root / "runs").run)
    extract(found)
    export(found.path, target="onnx", profile="cpu-generic")
    return found


def exported(run: Run) -> Path:
    """Return the directory of its export."""
    return run.exports_dir / "fraud" / "onnx-cpu-generic-fp32"


def lines_of(samples: NodeSamples) -> list[dict[str, Any]]:
    """Return the rows of a table in their order, each followed by its label if it is one of training."""
    graph, visible = samples.graph, samples.visible()
    lines: list[dict[str, Any]] = []
    for at, name in enumerate(graph.ids):
        keys = {key: None if one.keys_N[at] < 0 else one.names[one.keys_N[at]] for key, one in graph.relations.items()}  # type: ignore[union-attr]
        values = dict(zip(graph.feature_names, graph.features_NF[at].tolist(), strict=True))
        lines.append({"id": name, **keys, **values})
        if visible[at] >= 0:
            lines.append({"id": name, "label": graph.classes[visible[at]]})
    return lines


def sums(store: Path) -> dict[Any, Any]:
    """Return the sums of a store by place."""
    with sqlite3.connect(store) as connection:
        found = {
            row[:2]: np.frombuffer(row[2]) for row in connection.execute("SELECT relation, key, sums FROM counters")
        }
    connection.close()
    return found


def test_a_stream_scores_as_the_table(run: Run, tmp_path: Path) -> None:
    splits = RunSplits(run, "fraud")
    samples = splits.samples("fraud")
    assert isinstance(samples, NodeSamples)
    written = [json.dumps(line).encode() for line in lines_of(samples)]
    told = list(stream(exported(run), written, tmp_path / "s.db", allow_synthetic=True))
    assert len(told) == len(written)
    found = {one["id"]: one for one in map(json.loads, told) if "score" in one}
    test = splits.part("fraud", "test")
    with load_engine(exported(run)) as engine:
        logits = engine.run(np.array(test.images)).astype(np.float64)
        temperature = engine.exported.info.decision.temperature
    shares = np.exp(logits / temperature) / np.exp(logits / temperature).sum(1, keepdims=True)
    for row, wanted in zip(splits.parts("fraud")["test"], shares, strict=True):
        np.testing.assert_allclose(list(found[samples.ids[row]]["probabilities"].values()), wanted, atol=1e-5)
    list(stream(None, [], tmp_path / "f.db", run=run.path, region="fraud", fill=True, allow_synthetic=True))
    filled, streamed = sums(tmp_path / "f.db"), sums(tmp_path / "s.db")
    assert filled.keys() == streamed.keys()
    for place, values in streamed.items():
        np.testing.assert_allclose(filled[place], values, rtol=1e-9, atol=1e-9)


def test_a_redis_server_holds_what_a_file_holds(run: Run, tmp_path: Path) -> None:
    samples = RunSplits(run, "fraud").samples("fraud")
    assert isinstance(samples, NodeSamples)
    lines = [json.dumps({**line, "id": f"new-{line['id']}"}).encode() for line in lines_of(samples)]
    with RedisServer(tmp_path) as server:
        told = [
            list(stream(exported(run), lines, store, fill=True, allow_synthetic=True))
            for store in (tmp_path / "s.db", server.url(3))
        ]
        assert told[0] == told[1]
        assert not any("error" in json.loads(line) for line in told[0])
        with server.client(3) as client:
            found = {
                (at, key.decode()): np.frombuffer(cell)
                for at in range(2)
                for key, cell in client.hgetall(f"lorkit:counters:{at}").items()
            }
    wanted = sums(tmp_path / "s.db")
    assert found.keys() == wanted.keys()
    assert all(np.array_equal(found[place], wanted[place]) for place in wanted)


def test_a_filled_store_is_not_filled_again(run: Run, tmp_path: Path) -> None:
    for _ in range(2):
        scorer = Scorer.open(exported(run), tmp_path / "s.db")
        row = {"id": "a", "card": "003", "shop": None, "amount": 1.0, "age": 0.5}
        assert isinstance(scorer.score([row])[0], Score)
        scorer.store.close()
    with pytest.raises(UsageError, match="--fill with a store of 1 row"):
        list(stream(exported(run), [], tmp_path / "s.db", fill=True, allow_synthetic=True))


def test_a_simulated_network_is_refused_unless_allowed(run: Run, tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="--allow-synthetic"):
        list(stream(exported(run), [], tmp_path / "s.db"))
    assert not (tmp_path / "s.db").exists()


def test_stdin_is_answered_before_the_wait_and_a_reader_that_leaves_ends_the_stream(run: Run, tmp_path: Path) -> None:
    row = {"card": "003", "shop": None, "amount": 1.0, "age": 0.5}
    command = [sys.executable, "-m", "lorkit", "predict", str(exported(run)), "--allow-synthetic", "--stream", "-"]
    command += ["--store", str(tmp_path / "s.db")]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, bufsize=0) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        for name in "abc":
            process.stdin.write(json.dumps({"id": name, **row}).encode() + b"\n")
            assert json.loads(process.stdout.readline())["id"] == name
        process.stdout.close()
        with suppress(BrokenPipeError):
            process.stdin.write(json.dumps({"id": "d", **row}).encode() + b"\n")
        assert process.wait(timeout=120) == 6
        said = process.stderr.read().decode().splitlines()[-1]
    assert said.startswith("error: the reader of the answers has ended; required: ")
    done = subprocess.run(command, input=b"", capture_output=True, check=True, timeout=120)
    assert done.stdout == b""
    scorer = Scorer.open(exported(run), tmp_path / "s.db")
    assert len(scorer.store) == 4
    assert isinstance(scorer.score([{"id": "d", **row}])[0], Score)
    assert len(scorer.store) == 4
    scorer.store.close()
