"""Running an engine, on a fake of the runtime that reads and writes the buffers that it is given."""

from __future__ import annotations

import contextlib
import ctypes
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from lorkit.decompose.artifacts.arrays import Float32Array
from lorkit.decompose.errors import ArtifactError, MissingRuntimeError
from lorkit.decompose.machine import fingerprint
from lorkit.export.targets.tensorrt import engine as tensorrt_running
from lorkit.export.targets.tensorrt.engine import TensorrtEngine, in_range

KEY: dict[str, Any] = {"batch_shapes": [[2, 3], [3, 3], [4, 3]], "settings": {}}


class Context:
    """Doubles what lies at the address of `image` and writes it to that of `logits`."""

    def __init__(self) -> None:
        self.addresses: dict[str, int] = {}
        self.batches: list[int] = []

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
        assert name == "image"
        self.shape = shape
        return 2 <= shape[0] <= 4

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        assert name == "logits"
        return self.shape

    def set_tensor_address(self, name: str, address: int) -> None:
        self.addresses[name] = address

    def execute_async_v3(self, stream: int) -> bool:
        size = int(np.prod(self.shape))
        source, result = (
            np.ctypeslib.as_array((ctypes.c_float * size).from_address(self.addresses[name]))
            for name in ("image", "logits")
        )
        result[:] = 2 * source
        self.batches.append(self.shape[0])
        return stream == 7


class Plan:
    def __init__(self, dtype: str = "FLOAT", context: Context | None = None) -> None:
        self.dtype, self.context = dtype, context

    num_io_tensors = 2

    def get_tensor_name(self, index: int) -> str:
        return ("logits", "image")[index]  # a runtime may name outputs first

    def get_tensor_dtype(self, name: str) -> str:
        return self.dtype

    def get_tensor_mode(self, name: str) -> str:
        return {"image": "INPUT", "logits": "OUTPUT"}[name]

    def create_execution_context(self) -> Context | None:
        return self.context


@pytest.fixture
def runtime(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """A fake runtime whose next engine is `runtime.plan`; buffers lie on the CPU."""
    stream = SimpleNamespace(cuda_stream=7, synchronize=lambda: None)
    monkeypatch.setattr(tensorrt_running, "DEVICE", "cpu")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "Stream", lambda: stream)
    monkeypatch.setattr(torch.cuda, "stream", lambda _: contextlib.nullcontext())
    (tmp_path / "model.engine").write_bytes(b"plan")
    (tmp_path / "model.onnx").write_bytes(b"graph")
    calls: list[Any] = []
    module: Any = SimpleNamespace(__version__="1.0", plan=Plan(context=Context()), calls=calls, refits=True)
    module.Logger = type("Logger", (), {"ERROR": 1, "__init__": lambda self, level: None})
    module.DataType = SimpleNamespace(FLOAT="FLOAT", INT64="INT64")
    module.TensorIOMode = SimpleNamespace(INPUT="INPUT")

    def create(logger: Any) -> Any:
        found = SimpleNamespace(engine_host_code_allowed=False)
        found.deserialize_cuda_engine = lambda data: calls.append((data, found.engine_host_code_allowed)) or module.plan
        return found

    def refit(path: str) -> bool:
        calls.append(Path(path).name)
        return bool(module.refits)

    module.Runtime = create
    module.Refitter = lambda engine, logger: SimpleNamespace(refit_cuda_engine=lambda: True)
    module.OnnxParserRefitter = lambda refitter, logger: SimpleNamespace(refit_from_file=refit)
    return module


@pytest.mark.parametrize("count", [1, 2, 4, 5, 9])
def test_batches_of_any_size_run_within_what_it_was_built_for(runtime: Any, tmp_path: Path, count: int) -> None:
    engine = TensorrtEngine(runtime, tmp_path, KEY, name="TensorRT")
    batch: Float32Array = np.arange(count * 3, dtype=np.float32).reshape(count, 3)
    np.testing.assert_array_equal(engine.run(batch), 2 * batch)
    assert {2 <= size <= 4 for size in runtime.plan.context.batches} == {True}
    assert engine.provider == "TensorRT 1.0"
    engine.close()
    with pytest.raises(ArtifactError, match="closed"):
        engine.run(batch)


def test_the_gpu_is_timed_on_the_stream_that_the_engine_runs_on(
    runtime: Any, tmp_path: Path, cuda_events: list[tuple[str, Any]]
) -> None:
    engine = TensorrtEngine(runtime, tmp_path, KEY, name="TensorRT")
    context, stream = runtime.plan.context, torch.cuda.Stream()
    execute = context.execute_async_v3
    context.execute_async_v3 = lambda handle: cuda_events.append(("execute", handle)) or execute(handle)  # type: ignore[func-returns-value]
    assert engine.device_timer({"image": np.ones((5, 3), np.float32)}) == 2 * 1.5  # two parts, 1.5 ms each by the fake
    one = [("record", stream), ("execute", 7), ("record", stream), ("synchronize", 1)]
    assert cuda_events == one + one


def test_an_engine_that_stops_is_no_silent_result(
    runtime: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = TensorrtEngine(runtime, tmp_path, KEY, name="TensorRT")
    monkeypatch.setattr(Context, "execute_async_v3", lambda self, stream: False)
    with pytest.raises(ArtifactError, match="refused to run a batch"):
        engine.run(np.ones((2, 3), np.float32))
    monkeypatch.setattr(Context, "set_input_shape", lambda self, name, shape: setattr(self, "shape", shape))
    with pytest.raises(ArtifactError, match=r"refuses a batch of shape \(2, 3\)"):
        engine.run(np.ones((2, 3), np.float32))


@pytest.mark.parametrize(
    ("plan", "says"),
    [
        (None, "does not read it"),
        (Plan("HALF", Context()), "inputs and outputs are logits, image"),
        (Plan(), "no execution context"),
    ],
)
def test_an_unusable_engine_is_one_line(runtime: Any, tmp_path: Path, plan: Plan | None, says: str) -> None:
    runtime.plan = plan
    with pytest.raises(ArtifactError, match=says) as caught:
        TensorrtEngine(runtime, tmp_path, KEY, name="TensorRT")
    assert "\n" not in str(caught.value)


def test_a_stripped_engine_takes_its_weights_from_the_file_beside_it(runtime: Any, tmp_path: Path) -> None:
    key = KEY | {"settings": {"strip": True, "version_compatible": True}}
    TensorrtEngine(runtime, tmp_path, key, name="TensorRT")
    assert runtime.calls == [(b"plan", True), "model.onnx"]
    runtime.refits = False
    with pytest.raises(ArtifactError, match=r"takes no weights from model\.onnx"):
        TensorrtEngine(runtime, tmp_path, key, name="TensorRT")


def test_foreign_code_in_an_engine_is_not_run_unasked(runtime: Any, tmp_path: Path) -> None:
    TensorrtEngine(runtime, tmp_path, KEY, name="TensorRT")
    assert runtime.calls == [(b"plan", False)]


def test_a_cpu_build_of_torch_is_a_missing_runtime(
    runtime: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(MissingRuntimeError, match="CUDA build of torch"):
        TensorrtEngine(runtime, tmp_path, KEY, name="TensorRT")


def test_what_fills_a_batch_up_is_not_returned() -> None:
    seen: list[Any] = []
    batch: Float32Array = np.arange(5, dtype=np.float32)[:, None]
    given = {"image": batch, "region": np.arange(5)}
    result = in_range(lambda part: seen.append(part) or part, given, 2, 4)  # type: ignore[func-returns-value]
    np.testing.assert_array_equal(result["image"], batch)
    np.testing.assert_array_equal(result["region"], np.arange(5))
    assert [part["image"][:, 0].tolist() for part in seen] == [[0, 1, 2, 3], [4, 4]]
    assert [part["region"].tolist() for part in seen] == [[0, 1, 2, 3], [4, 4]]


def test_several_inputs_and_outputs_go_by_their_names(
    runtime: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An engine lists its tensors in any order; region ids stay whole numbers."""
    names = ("confidence", "region", "logits_chest", "image")
    shapes: dict[str, tuple[int, ...]] = {}
    addresses: dict[str, int] = {}

    def execute(stream: int) -> bool:
        count = shapes["image"][0]

        def at(name: str, kind: Any, size: int) -> Any:
            return np.ctypeslib.as_array((kind * size).from_address(addresses[name]))

        image, region = at("image", ctypes.c_float, 3 * count), at("region", ctypes.c_int64, count)
        at("logits_chest", ctypes.c_float, 3 * count)[:] = 2 * image
        at("confidence", ctypes.c_float, count)[:] = region
        return True

    context = SimpleNamespace(
        set_input_shape=lambda name, shape: shapes.update({name: shape}) or True,
        get_tensor_shape=lambda name: shapes["image"] if name == "logits_chest" else shapes["image"][:1],
        set_tensor_address=addresses.__setitem__,
        execute_async_v3=execute,
    )
    plan = runtime.plan = Plan(context=context)  # type: ignore[arg-type]
    plan.num_io_tensors = len(names)
    plan.get_tensor_name = names.__getitem__  # type: ignore[method-assign, assignment]
    plan.get_tensor_dtype = lambda name: "INT64" if name == "region" else "FLOAT"  # type: ignore[method-assign]
    plan.get_tensor_mode = lambda name: "INPUT" if name in ("image", "region") else "OUTPUT"  # type: ignore[method-assign]
    images = np.arange(15, dtype=np.float32).reshape(5, 3)
    with TensorrtEngine(runtime, tmp_path, KEY, name="TensorRT") as engine:
        found = engine.infer({"image": images, "region": np.array([3, 0, 1, 2**40, 2])})
    assert list(found) == ["confidence", "logits_chest"]
    np.testing.assert_array_equal(found["logits_chest"], 2 * images)
    np.testing.assert_array_equal(found["confidence"], np.float32([3, 0, 1, 2**40, 2]))


def test_the_real_runtime_has_what_is_called_here() -> None:
    real = pytest.importorskip("tensorrt_rtx", reason="needs the extra tensorrt-rtx")
    called = {
        real.Runtime: ("deserialize_cuda_engine", "engine_host_code_allowed"),
        real.ICudaEngine: (
            "create_execution_context", "get_tensor_dtype", "get_tensor_mode", "get_tensor_name", "num_io_tensors",
        ),
        real.IExecutionContext: ("execute_async_v3", "get_tensor_shape", "set_input_shape", "set_tensor_address"),
        real.OnnxParserRefitter: ("refit_from_file",),
        real.Refitter: ("refit_cuda_engine",),
        real.DataType: ("FLOAT", "INT64"),
        real.TensorIOMode: ("INPUT",),
    }  # fmt: skip
    assert not [
        f"{owner.__name__}.{name}" for owner, names in called.items() for name in names if not hasattr(owner, name)
    ]


@pytest.mark.skipif(bool(fingerprint()["gpus"]), reason="a GPU may read the engine")
def test_the_real_runtime_refuses_without_a_gpu_in_one_line(tmp_path: Path) -> None:
    pytest.importorskip("tensorrt_rtx", reason="needs the extra tensorrt-rtx")
    (tmp_path / "model.engine").write_bytes(b"vtrt" + bytes(100))
    code = (
        "import sys, pathlib, tensorrt_rtx; from lorkit.export.targets.tensorrt.engine import deserialize\n"
        "try: deserialize(tensorrt_rtx, pathlib.Path(sys.argv[1]), {}, 'TensorRT-RTX')\n"
        "except Exception as error: print(type(error).__name__, str(error), flush=True)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, timeout=120, check=False
    )
    assert [
        line for line in done.stdout.splitlines() if line.startswith("ArtifactError") and "does not read it" in line
    ]
