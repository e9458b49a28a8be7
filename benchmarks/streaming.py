"""Time of scoring a stream: one row at a time, and in batches, with look-ups in a store and an exported network.

    python benchmarks/streaming.py EXPORT --markdown stream.md

EXPORT is an export of a network of rows with shared keys. Rows are drawn with keys of uneven popularity; a share of
them gets a label later. The store is filled with the first rows before anything is timed, and is in a temporary
directory unless --store names another file, since the disk counts, or a new database of a Redis server.
"""

from __future__ import annotations

import argparse
import datetime
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lorkit.decompose.artifacts.arrays import Float32Array
from lorkit.decompose.machine import fingerprint, tool_versions
from lorkit.export.runtime.engine import CheckedEngine, load_engine
from lorkit.export.serving.counters import Layout
from lorkit.export.serving.scoring import Scorer, streamed_input
from lorkit.export.serving.stores import open_store
from lorkit.export.serving.stream import answer_lines

GOALS = {"p50_ms": 1.0, "p99_ms": 3.0, "scores_per_second": 20_000}
LABELLED = 0.1
"""Share of rows that get a label."""


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("export", type=Path)
    arguments.add_argument("--before", type=int, default=50_000, help="rows in the store before anything is timed")
    arguments.add_argument("--requests", type=int, default=5_000, help="rows that are timed one by one")
    arguments.add_argument("--batches", type=int, default=50, help="batches that are timed")
    arguments.add_argument("--batch", type=int, default=256)
    arguments.add_argument("--keys", type=int, default=5_000, help="keys by relation")
    arguments.add_argument("--store", help="a new file, or redis://HOST:PORT/DATABASE; default: a temporary file")
    arguments.add_argument("--out", type=Path, help="write the JSON document to this file")
    arguments.add_argument("--markdown", type=Path, help="write the table to this file")
    options = arguments.parse_args()
    with tempfile.TemporaryDirectory() as folder, load_engine(options.export, threads=1) as engine:
        found = measure(engine, options.store or str(Path(folder) / "store.db"), options)
    document: dict[str, Any] = {
        "benchmark": "streaming",
        "date": datetime.date.today().isoformat(),
        "machine": fingerprint(),
        "tools": tool_versions(),
        "goals": GOALS,
        **found,
    }
    text = markdown(document)
    if options.out:
        options.out.write_text(json.dumps(document), encoding="utf-8")
    if options.markdown:
        options.markdown.write_text(text, encoding="utf-8")
    print(json.dumps(document, indent=1))
    print(text)


class TimedNetwork:
    """A network that adds up the time it takes."""

    def __init__(self, engine: CheckedEngine) -> None:
        self._engine = engine
        self.spent: list[float] = []

    def __call__(self, batch: Float32Array) -> Float32Array:
        """Return the logits."""
        began = time.perf_counter()
        logits = self._engine.run(batch)
        self.spent.append(time.perf_counter() - began)
        return logits


def measure(engine: CheckedEngine, place: str, options: argparse.Namespace) -> dict[str, Any]:
    """Return times of single rows, of labels and of batches."""
    exported = engine.exported
    nodes = streamed_input(exported.recipe, str(exported.path))
    network = TimedNetwork(engine)
    store = open_store(place, Layout.of(nodes, exported.classes))
    scorer = Scorer(nodes, exported.classes, exported.info.decision, network, store)
    rows = draw_rows(nodes.relations, nodes.features, options.keys)
    for _ in range(0, options.before, options.batch):
        scorer.score([next(rows) for _ in range(options.batch)])
    print(f"{len(store)} rows in the store", file=sys.stderr)
    random = np.random.default_rng(1)
    network.spent = []
    single, labels = [], []
    for _ in range(options.requests):
        row = next(rows)
        single.append(timed(lambda row=row: scorer.score([row])))
        if random.random() < LABELLED:
            labels.append(timed(lambda row=row: scorer.label(row["id"], exported.classes[0])))
    own, network.spent = network.spent, []
    batches = []
    for _ in range(options.batches):
        chunk = [next(rows) for _ in range(options.batch)]
        batches.append(timed(lambda chunk=chunk: scorer.score(chunk)))
    whole = network.spent
    texts = [json.dumps(next(rows)).encode() for _ in range(options.batches * options.batch)]
    lines = timed(lambda: list(answer_lines(scorer, texts, batch=options.batch)))
    store.close()
    return {
        "export": str(exported.path),
        "relations": len(nodes.relations),
        "features": len(nodes.features),
        "rows_before": options.before,
        "keys": options.keys,
        "store": type(store).__name__,
        "requests": summary(single),
        "requests_network": summary(own),
        "labels": summary(labels) if labels else None,
        "batch": options.batch,
        "batches": summary(batches),
        "batches_network": summary(whole),
        "scores_per_second": options.batch * options.batches / sum(batches),
        "lines_per_second": options.batch * options.batches / lines,
    }


def draw_rows(relations: Sequence[str], features: Sequence[str], keys: int) -> Iterator[dict[str, Any]]:
    random = np.random.default_rng(0)
    shares = random.lognormal(size=(len(relations), keys))
    at = 0
    while True:
        drawn = [random.choice(keys, size=1000, p=share / share.sum()) for share in shares]
        values = random.lognormal(size=(1000, len(features)))
        for row in range(1000):
            columns = {name: f"{name}-{key[row]}" for name, key in zip(relations, drawn, strict=True)}
            yield {"id": f"r{at}", **columns, **dict(zip(features, values[row].tolist(), strict=True))}
            at += 1


def timed(work: Any) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def summary(seconds: Sequence[float]) -> dict[str, float]:
    p50, p99 = np.percentile(seconds, [50, 99])
    return {
        "n": len(seconds),
        "mean_ms": 1000 * statistics.fmean(seconds),
        "p50_ms": 1000 * float(p50),
        "p99_ms": 1000 * float(p99),
    }


def markdown(document: dict[str, Any]) -> str:
    lines = [
        f"{document['relations']} relations, {document['features']} features, {document['rows_before']} rows in the"
        f" store before; one thread. In batches of {document['batch']}: {document['scores_per_second']:.0f} scores per"
        f" second (goal: {GOALS['scores_per_second']}); {document['lines_per_second']:.0f} from line to line of JSON.",
        "",
        "| | n | p50 ms | p99 ms |",
        "|---|---:|---:|---:|",
    ]
    names = {
        "requests": f"one row (goals {GOALS['p50_ms']:g} and {GOALS['p99_ms']:g})",
        "requests_network": "of that, the network",
        "labels": "one label",
        "batches": "one batch",
        "batches_network": "of that, the network",
    }
    for key, name in names.items():
        if row := document[key]:
            lines.append(f"| {name} | {row['n']} | {row['p50_ms']:.3f} | {row['p99_ms']:.3f} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
