"""Time on the GPU: engines that have it are asked in turn, and a row says why there is none."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from lorkit.cli.output import export_tables
from lorkit.export.benchmarking.benchmark import bench
from lorkit.export.benchmarking.device_times import device_times
from lorkit.export.benchmarking.interleaving import TimedEngine
from lorkit.export.runtime.engine import CheckedEngine
from lorkit.export.targets.aoti.engine import CPU, CUDA, AotiEngine
from lorkit.export.targets.tensorrt import torch_trt

INPUTS = [{"image": np.full((2, 1), value, np.float32)} for value in (1, 2)]


class Timed:
    """An engine whose GPU takes as many milliseconds as the first pixel says."""

    provider = "TensorRT 1.0"

    def device_timer(self, batch: Any) -> float:
        return float(batch["image"][0, 0])


def measured(engines: list[Any], seconds: float = 60.0, clock: Callable[[], float] = lambda: 0.0) -> list[Any]:
    arms = [TimedEngine("x", lambda batch: None, INPUTS) for _ in engines]
    found = device_times(engines, arms, 5, seed=0, seconds=seconds, clock=clock)
    return [row.to_json() for row in found]


def test_inputs_take_turns_and_samples_are_kept() -> None:
    assert measured([Timed()]) == [
        {"device_median_ms": 1.0, "device_samples_ms": [1.0, 2.0, 1.0, 2.0, 1.0], "device_note": None}
    ]


@pytest.mark.parametrize(
    ("provider", "says"),
    [("OpenVINO CPU", "it runs on the CPU"), ("CUDAExecutionProvider", "its stream is not accessible")],
)
def test_where_there_is_none_the_row_is_null_and_says_why(provider: str, says: str) -> None:
    row, timed = measured([SimpleNamespace(provider=provider, device_timer=None), Timed()])
    assert (row["device_median_ms"], row["device_samples_ms"]) == (None, None)
    assert row["device_note"].startswith(provider)
    assert says in row["device_note"]
    assert timed["device_median_ms"] == 1.0


def test_time_is_kept_but_there_is_one_sample() -> None:
    ticks = iter(range(100))
    assert len(measured([Timed()], seconds=0.5, clock=lambda: next(ticks))[0]["device_samples_ms"]) == 1


def test_compiled_code_is_timed_on_a_gpu_only(cuda_events: list[Any]) -> None:
    def engine(device: str) -> AotiEngine:
        note: Any = SimpleNamespace(
            shape=[3], device=device, gpu={"name": "x"} if device == CUDA else {}, host={"capability": "AVX2"},
            torch="2", precision="bf16",
        )  # fmt: skip
        return AotiEngine(lambda images: cuda_events.append("run") or 2 * images, note, threads=None)  # type: ignore[func-returns-value]

    assert engine(CPU).device_timer is None
    on_gpu = engine(CUDA)
    timer = on_gpu.device_timer
    assert timer is not None
    on_gpu._device = CPU  # there is no GPU to put the images on
    assert timer({"image": np.ones((2, 3), np.float32)}) == 1.5
    assert cuda_events == [("record", "current"), "run", ("record", "current"), ("synchronize", 1)]


def test_a_program_of_torch_tensorrt_is_timed_part_by_part(
    cuda_events: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch_trt, "DEVICE", "cpu")
    monkeypatch.setattr(torch_trt.importlib, "import_module", lambda name: SimpleNamespace(__version__="2.13"))
    engine = torch_trt.TorchTrtEngine(lambda images: 2 * images, [(1, 3), (2, 3), (2, 3)])
    assert engine.device_timer({"image": np.ones((3, 3), np.float32)}) == 3.0
    assert [event for event in cuda_events if event[0] == "record"] == 4 * [("record", "current")]


def test_bench_shows_it_where_it_is(
    make_export: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    directory = make_export("a")
    (row,) = bench([directory], samples=4, max_seconds=0.5).to_json()["exports"]
    assert (row["device_median_ms"], row["device_samples_ms"]) == (None, None)
    assert row["device_note"] == "CPUExecutionProvider: it runs on the CPU"
    export_tables.benchmark(bench([directory], samples=4, max_seconds=0.5))
    assert "GPU median" not in capsys.readouterr().out
    monkeypatch.setattr(CheckedEngine, "device_timer", property(lambda engine: lambda batch: 0.25))
    document = bench([directory], samples=4, max_seconds=0.5)
    assert document.exports[0].device_samples_ms == [0.25] * 4
    monkeypatch.setenv("COLUMNS", "200")
    export_tables.benchmark(document)
    shown = capsys.readouterr().out
    assert "GPU median ms" in shown
    assert "0.25" in shown
