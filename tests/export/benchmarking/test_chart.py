"""The drawing of latencies: well-formed, every row named with its median, hostile names escaped."""

from __future__ import annotations

from typing import Any
from xml.etree import ElementTree

import numpy as np

from lorkit.decompose.documents.bench import BenchRow
from lorkit.export.benchmarking.chart import latencies

SVG = "{http://www.w3.org/2000/svg}"


def row(target: str, middle: float, **changes: Any) -> BenchRow:
    samples = middle * np.exp(np.random.default_rng(0).normal(0, 0.1, 400))
    found: dict[str, Any] = {
        "region": "chest",
        "owner": "expert",
        "target": target,
        "precision": "fp32",
        "batch": 1,
        "threads": 1,
    }
    found |= {"path": "a", "digest": None, "profile": "cpu-generic", "p90_ms": None, "p99_ms": None, "throughput": 1.0}
    found |= {"median_ms": float(np.median(samples)), "samples_ms": samples.tolist(), "peak_mib": None, "size_bytes": 1}
    return BenchRow.model_validate(found | changes)


def test_rows_are_named_and_the_fastest_comes_first() -> None:
    rows = [row("onnx", 8.0), row("openvino", 2.0, precision="int8"), row("onnx", 12.0, batch=8, threads=2)]
    tree = ElementTree.fromstring(latencies(rows))
    texts = [text.text for text in tree.iter(f"{SVG}text")]
    names = [text for text in texts if text and text.startswith("chest expert")]
    assert names == [
        "chest expert, onnx fp32, batch 8, 2 threads",  # an image takes an eighth of it
        "chest expert, openvino int8",
        "chest expert, onnx fp32",
    ]
    assert sum(text is not None and text.endswith(" ms") for text in texts) == 3
    dots = [float(dot.get("cx", "nan")) for dot in tree.iter(f"{SVG}circle")]
    assert min(dots) >= 230
    assert max(dots) <= 640 - 96
    assert len(dots) <= 3 * 201


def test_a_name_is_text_and_nothing_else() -> None:
    drawn = latencies([row("onnx", 1.0, region="<script>alert(1)</script>")])
    assert "<script" not in drawn
    ElementTree.fromstring(drawn)


def test_samples_that_are_all_equal() -> None:
    ElementTree.fromstring(latencies([row("onnx", 1.0, samples_ms=[1.0] * 12, median_ms=1.0)]))
