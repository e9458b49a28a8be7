import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lorkit.decompose.artifacts import read_json, write_json, write_manifest
from lorkit.decompose.errors import MissingRuntimeError, UsageError
from lorkit.decompose.events import Event, Working
from lorkit.decompose.runs import Run, export_directory
from lorkit.export.benchmarking.benchmark import bench, stored

ROW = {
    "path", "region", "target", "precision", "batch", "threads", "median_ms", "p90_ms", "p99_ms", "throughput",
    "peak_mib", "size_bytes", "samples_ms",
}  # fmt: skip


def without_runtime(path: Path) -> Path:
    write_json(
        path / "export.json", {**read_json(path / "export.json"), "target": "trt", "profile": "t4", "provider": None}
    )
    write_manifest(path, "export", synthetic=True, extra={"target": "trt", "profile": "t4", "precision": "fp32"})
    return path


def test_a_run_is_measured_and_the_result_stored(a_run: Run) -> None:
    told: list[Event] = []
    document = bench(samples=40, max_seconds=5.0, region="chest", on_event=told.append).to_json()
    assert [row["owner"] for row in document["exports"]] == ["expert", "foundation", "student"]
    for row in document["exports"]:
        assert set(row) >= ROW
        assert len(row["samples_ms"]) == 40
        assert row["p90_ms"] >= row["median_ms"]
        assert row["p99_ms"] is None
        assert row["throughput"] == pytest.approx(1e3 / row["median_ms"])
        assert row["size_bytes"] == (Path(row["path"]) / "model.onnx").stat().st_size
        assert row["provider"] == "CPUExecutionProvider"
    medians = {row["owner"]: row["median_ms"] for row in document["exports"]}
    assert medians["expert"] < medians["foundation"]
    kept = stored(a_run)
    assert kept is not None
    assert kept.to_json() == document
    assert told == [Working("chest, batch 1", 0, 1), Working("done", 1, 1)]


def test_a_later_bench_keeps_what_it_did_not_measure(a_run: Run) -> None:
    bench(samples=4, max_seconds=0.5, region="chest")
    document = bench(samples=4, max_seconds=0.5, region="knee").to_json()
    assert {row["region"] for row in document["exports"]} == {"knee"}
    kept = stored(a_run)
    assert kept is not None
    assert sorted({row.region for row in kept.exports}) == ["chest", "knee"]
    shutil.rmtree(a_run.exports_dir / "chest")
    bench(samples=4, max_seconds=0.5, region="knee")
    kept = stored(a_run)
    assert kept is not None
    assert len(kept.exports) == 5


def test_sweeps_and_percentiles(make_export: Callable[..., Path]) -> None:
    document = bench([make_export("a")], batch=(1, 3), threads=(1, 2), samples=299, max_seconds=60.0).to_json()
    assert [(row["batch"], row["threads"]) for row in document["exports"]] == [(1, 1), (3, 1), (1, 2), (3, 2)]
    for row in document["exports"]:
        assert row["median_ms"] <= row["p90_ms"] <= row["p99_ms"] <= row["p99_bound_ms"]


def test_time_is_kept(make_export: Callable[..., Path]) -> None:
    document = bench(make_export("a", work=20, width=32), samples=100_000, max_seconds=1.0).to_json()
    assert 10 <= len(document["exports"][0]["samples_ms"]) < 5_000


def test_against_gives_paired_ratios(make_export: Callable[..., Path]) -> None:
    slow, fast = make_export("slow", work=30, width=16), make_export("fast", work=4, width=8)
    document = bench([fast], against=slow, samples=40, max_seconds=10.0).to_json()
    (ratio,) = document["comparisons"]
    assert ratio["path"] == str(fast)
    assert ratio["ci"][1] < 0.9
    assert ratio["pairs"] == 40
    with pytest.raises(UsageError, match="--against"):
        bench([slow], against=slow)


def test_what_cannot_run_is_an_error_when_named_and_a_warning_beside_others(
    a_run: Run, make_export: Callable[..., Path]
) -> None:
    with pytest.raises(MissingRuntimeError):
        bench(without_runtime(make_export("a")))
    directory = export_directory(a_run, "expert", "chest", "trt", "t4", "fp32")
    shutil.copytree(export_directory(a_run, "expert", "chest", "onnx", "cpu-generic", "fp32"), directory)
    without_runtime(directory)
    document = bench(region="chest", samples=4, max_seconds=0.5).to_json()
    assert len(document["exports"]) == 3
    assert "trt" in document["warnings"][0]
    with pytest.raises(MissingRuntimeError):
        bench(target="trt", samples=4)


@pytest.mark.parametrize("options", [{"batch": (0,)}, {"threads": ()}, {"samples": 1}, {"max_seconds": 0.0}])
def test_senseless_options_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="above 0"):
        bench(**options)


def test_nothing_to_measure(a_run: Run) -> None:
    with pytest.raises(UsageError, match="decompose export"):
        bench(target="openvino")
