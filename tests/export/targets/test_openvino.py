"""OpenVINO for real: every precision is built, compiled and run, and what it drops silently is an error."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from lorkit.decompose.artifacts import digest_file, read_json, write_json
from lorkit.decompose.artifacts.arrays import Float32Array
from lorkit.decompose.errors import ArtifactError, MissingRuntimeError, UsageError
from lorkit.decompose.machine import fingerprint
from lorkit.export.onnx.precision import int8
from lorkit.export.runtime.parity import infer_all
from lorkit.export.runtime.reference_images import seeded_inputs
from lorkit.export.targets import MODEL, get_target
from lorkit.export.targets import openvino as module
from lorkit.export.targets.base import BuildRequest
from lorkit.export.targets.host_note import NATIVE_BF16, NOTE
from lorkit.export.targets.openvino import BIN, TARGET, XML

HERE = importlib.util.find_spec("openvino") is not None
runtime = pytest.mark.skipif(not HERE, reason="openvino is not installed")
bf16 = pytest.mark.skipif(not set(NATIVE_BF16) & set(fingerprint()["flags"]), reason="this CPU has no bf16")
BuildRequests = Callable[..., BuildRequest]
# largest error as a share of the largest logit; bfloat16 holds 8 bits, int8 7 and a sign
ERRORS = {"fp32": 1e-5, "bf16": 2e-2, "int8": 5e-2}


def quantise(path: Path) -> None:
    """Replace an ONNX file by its int8 QDQ form: uint8 activations, int8 weights by channel."""
    from onnxruntime import quantization
    from onnxruntime.quantization.shape_inference import quant_pre_process

    class Reader(quantization.CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self._rows = iter(seeded_inputs((1, 16, 16), 16))

        def get_next(self) -> dict[str, Any] | None:
            row = next(self._rows, None)
            return None if row is None else {"image": row[None]}

    quant_pre_process(str(path), str(path))
    quantization.quantize_static(
        str(path), str(path), Reader(), quant_format=quantization.QuantFormat.QDQ, per_channel=True,
        activation_type=quantization.QuantType.QUInt8, weight_type=quantization.QuantType.QInt8,
    )  # fmt: skip


@pytest.fixture(scope="module")
def graphs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory of ONNX files: traced and quantised once."""
    return tmp_path_factory.mktemp("graphs")


@pytest.fixture
def build_requests(graphs: Path, build_request: BuildRequests) -> BuildRequests:
    """As `build_request`, whose ONNX file is the int8 one with `quantised=True`."""

    def make(directory: Path, *, quantised: bool = False, **options: Any) -> BuildRequest:
        kept = graphs / str(quantised)
        if not (kept / MODEL).exists():
            kept.mkdir()
            build_request(kept)
            if quantised:
                quantise(kept / MODEL)
        shutil.copy(kept / MODEL, directory / MODEL)
        return build_request(directory, **options)

    return make


def built(
    build_requests: BuildRequests, directory: Path, precision: str = "fp32", *, quantised: bool | None = None
) -> Float32Array:
    """Build an engine and return the network's own logits of eight images."""
    quantised = precision == "int8" if quantised is None else quantised
    build_request = build_requests(directory, precision=precision, quantised=quantised)
    assert TARGET.build(build_request) == directory / XML
    with torch.inference_mode():
        logits: Float32Array = build_request.network(torch.from_numpy(seeded_inputs((1, 16, 16), 8))).numpy()
    return logits


def signed_again(directory: Path, **changes: Any) -> None:
    """Make a note fit files that were changed, as one who means harm would."""
    note = read_json(directory / NOTE)
    note["files"] = {name: digest_file(directory / name) for name in note["files"]}
    write_json(directory / NOTE, note | changes)


@runtime
@pytest.mark.parametrize("precision", ["fp32", pytest.param("bf16", marks=bf16), "int8"])
def test_it_gives_the_networks_logits_at_any_batch_size(
    tmp_path: Path, build_requests: BuildRequests, precision: str
) -> None:
    expected = built(build_requests, tmp_path, precision)
    engine = TARGET.load(tmp_path, threads=1)
    images, largest = seeded_inputs((1, 16, 16), 8), float(np.abs(expected).max())
    for batch in (1, 3, 8):
        error = float(np.abs(infer_all(engine.infer, {"image": images}, batch)["logits"] - expected).max()) / largest
        assert error < ERRORS[precision]
        # a low precision that leaves no trace did not run
        assert precision == "fp32" or error > 1e-5
    assert re.fullmatch(rf"OpenVINO 20\d\d\.\d+\.\d+ CPU {precision}", engine.provider)
    engine.close()
    with pytest.raises(ArtifactError, match="closed"):
        engine.run(images)


def joined_product(path: Path) -> onnx.ModelProto:
    """Write a graph that multiplies two joined tensors by weights, of which int8 gives each its own zero point."""
    rng = np.random.default_rng(0)
    weights = {name: rng.normal(size=(8, 8)).astype(np.float32) for name in ("first", "second", "third")}
    nodes = [
        helper.make_node("MatMul", ["image", "first"], ["one"], "one"),
        helper.make_node("MatMul", ["image", "second"], ["two"], "two"),
        helper.make_node("Concat", ["one", "two"], ["both"], "both", axis=1),
        helper.make_node("MatMul", ["both", "third"], ["logits"], "product"),
    ]
    image, logits = (
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", rows, 8])
        for name, rows in (("image", 3), ("logits", 6))
    )
    stored = [numpy_helper.from_array(values, name) for name, values in weights.items()]
    graph = helper.make_graph(nodes, "g", [image], [logits], stored)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    onnx.save(model, path)
    return model


@runtime
def test_products_of_joined_tensors_stay_fp32(tmp_path: Path) -> None:
    import openvino

    model = joined_product(tmp_path / MODEL)
    assert TARGET.unquantised(model) == ["product"]
    images = np.random.default_rng(1).normal(size=(8, 3, 8)).astype(np.float32)
    for excluding in ([], ["product"]):
        onnx.save(int8.quantise(model, {"image": images}, "asymmetric", excluding=excluding), tmp_path / "int8.onnx")
        read = openvino.Core().read_model(tmp_path / "int8.onnx")
        if not excluding:  # once OpenVINO takes it, `unquantised` has no reason any more
            with pytest.raises(RuntimeError, match="MatMul"):
                openvino.Core().compile_model(read, "CPU")
            continue
        found = next(iter(openvino.Core().compile_model(read, "CPU")(images).values()))
    weights = {one.name: numpy_helper.to_array(one).astype(np.float64) for one in model.graph.initializer}
    both = np.concatenate([images @ weights["first"], images @ weights["second"]], axis=1)
    wanted = both @ weights["third"]
    assert np.abs(found - wanted).max() < ERRORS["int8"] * np.abs(wanted).max()


@runtime
def test_the_weights_stay_fp32(tmp_path: Path, build_requests: BuildRequests) -> None:
    built(build_requests, tmp_path)
    stored = onnx.load(tmp_path / MODEL).graph.initializer
    assert (tmp_path / BIN).stat().st_size >= sum(len(tensor.raw_data) for tensor in stored if tensor.data_type == 1)
    assert 'element_type="f16"' not in (tmp_path / XML).read_text()


@runtime
def test_results_outlive_the_next_run_and_inputs_may_lie_anyhow(tmp_path: Path, build_requests: BuildRequests) -> None:
    expected = built(build_requests, tmp_path)
    engine = TARGET.load(tmp_path, threads=1)
    images = seeded_inputs((1, 16, 16), 8)
    strided = np.ascontiguousarray(images[..., ::-1])[..., ::-1]
    strided.flags.writeable = False
    first = engine.run(strided)
    engine.run(np.zeros_like(images))
    np.testing.assert_allclose(first, expected, atol=1e-5)
    with pytest.raises(ArtifactError, match=r"refuses a batch of shape \(2, 3, 16, 16\)") as caught:
        engine.run(np.zeros((2, 3, 16, 16), np.float32))
    assert "\n" not in str(caught.value)


@runtime
@pytest.mark.parametrize(("policy", "bound"), [(None, False), ("passive", False), ("active", True)])
def test_threads_and_device_are_what_was_asked_for(
    tmp_path: Path,
    build_requests: BuildRequests,
    monkeypatch: pytest.MonkeyPatch,
    policy: str | None,
    bound: bool,
) -> None:
    built(build_requests, tmp_path)
    monkeypatch.delenv("LORKIT_ENGINE_WAIT", raising=False)
    if policy is not None:
        monkeypatch.setenv("LORKIT_ENGINE_WAIT", policy)
    seen: list[list[Any]] = []
    check = module._check

    def spy(compiled: Any, precision: str) -> None:
        names = ("INFERENCE_NUM_THREADS", "NUM_STREAMS", "ENABLE_CPU_PINNING")
        seen.append([precision, *(compiled.get_property(name) for name in names)])
        check(compiled, precision)

    monkeypatch.setattr(module, "_check", spy)
    TARGET.load(tmp_path, threads=1)
    assert seen == [["fp32", 1, 1, bound]]
    elsewhere = SimpleNamespace(get_property=lambda name: ["GPU.0"])
    with pytest.raises(MissingRuntimeError, match=r"chose GPU\.0"):
        check(elsewhere, "fp32")


@runtime
@bf16
@pytest.mark.parametrize(("precision", "hint"), [("bf16", "f32"), ("fp32", "bf16")])
def test_a_precision_that_the_runtime_changes_is_an_error(
    tmp_path: Path, build_requests: BuildRequests, monkeypatch: pytest.MonkeyPatch, precision: str, hint: str
) -> None:
    """The hint is no promise; here the runtime is made to follow another one."""
    built(build_requests, tmp_path, precision)
    monkeypatch.setitem(module.HINTS, precision, hint)
    with pytest.raises(MissingRuntimeError, match=rf"in another precision \(3 in {hint}\)") as caught:
        TARGET.load(tmp_path)
    assert "\n" not in str(caught.value)


@runtime
def test_an_int8_engine_of_a_file_that_is_not_quantised_is_an_error(
    tmp_path: Path, build_requests: BuildRequests
) -> None:
    built(build_requests, tmp_path, "int8", quantised=False)
    with pytest.raises(MissingRuntimeError, match=r"\(3 in f32\); required: int8"):
        TARGET.load(tmp_path)


@runtime
def test_a_quantised_file_is_no_fp32_engine(tmp_path: Path, build_requests: BuildRequests) -> None:
    built(build_requests, tmp_path, "fp32", quantised=True)
    with pytest.raises(MissingRuntimeError, match=r"in u8\); required: fp32"):
        TARGET.load(tmp_path)


@runtime
def test_bf16_is_refused_where_the_cpu_would_emulate_it(
    tmp_path: Path, build_requests: BuildRequests, monkeypatch: pytest.MonkeyPatch
) -> None:
    built(build_requests, tmp_path, "bf16")
    machine = fingerprint() | {"cpu": "Cascade Lake", "flags": ["avx2", "avx512f", "avx512_vnni"]}
    monkeypatch.setattr("lorkit.export.targets.host_note.fingerprint", lambda: machine)
    with pytest.raises(MissingRuntimeError, match=r"\(Cascade Lake\) has no bf16 instructions; required: one of"):
        TARGET.load(tmp_path)


@runtime
def test_a_frozen_batch_is_refused_when_it_is_built_and_when_it_is_loaded(
    tmp_path: Path, build_requests: BuildRequests
) -> None:
    fixed = build_requests(tmp_path)
    model = onnx.load(tmp_path / MODEL)
    for value in (*model.graph.input, *model.graph.output):
        value.type.tensor_type.shape.dim[0].dim_value = 3
    onnx.save(model, tmp_path / MODEL)
    with pytest.raises(UsageError, match=r"fixes the batch of 'image'"):
        TARGET.build(fixed)
    assert not (tmp_path / XML).exists()
    openvino = module.import_openvino()
    openvino.save_model(openvino.Core().read_model(tmp_path / MODEL), tmp_path / XML, compress_to_fp16=False)
    files = {name: digest_file(tmp_path / name) for name in (XML, BIN)}
    facts = {"target": "openvino", "precision": "fp32", "openvino": "1", "device": "CPU"}
    write_json(tmp_path / NOTE, facts | {"files": files})
    with pytest.raises(ArtifactError, match="fixes the batch of 'image'"):
        TARGET.load(tmp_path)


@runtime
@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize(
    ("name", "change"),
    [
        (XML, lambda data: data[: len(data) // 2]),
        (XML, lambda data: b""),
        (XML, lambda data: b"garbage"),
        (XML, lambda data: b"<html/>"),
        (XML, lambda data: re.sub(rb'offset="\d+"', b'offset="999999999999"', data)),
        (XML, lambda data: data.replace(b'type="Convolution"', b'type="Shell"')),
        (BIN, lambda data: data[:100]),
        (BIN, lambda data: b""),
    ],
)
def test_a_damaged_engine_is_one_line(
    tmp_path: Path,
    build_requests: BuildRequests,
    capfd: pytest.CaptureFixture[str],
    name: str,
    change: Any,
    signed: bool,
) -> None:
    built(build_requests, tmp_path)
    (tmp_path / name).write_bytes(change((tmp_path / name).read_bytes()))
    if signed:
        signed_again(tmp_path)
    capfd.readouterr()
    with pytest.raises(
        ArtifactError, match="OpenVINO .* cannot (read|compile)" if signed else "is not the file that was built"
    ) as caught:
        TARGET.load(tmp_path)
    assert "\n" not in str(caught.value)
    assert capfd.readouterr() == ("", "")


@runtime
@pytest.mark.parametrize("name", [XML, BIN, NOTE])
def test_a_missing_file_is_one_line(tmp_path: Path, build_requests: BuildRequests, name: str) -> None:
    built(build_requests, tmp_path)
    (tmp_path / name).unlink()
    with pytest.raises(ArtifactError, match=rf"has no {name}.*--target openvino --force"):
        TARGET.load(tmp_path)


@runtime
def test_a_file_that_is_no_onnx_is_one_line(tmp_path: Path, build_requests: BuildRequests) -> None:
    wanted = build_requests(tmp_path)
    (tmp_path / MODEL).write_bytes(b"not a graph")
    with pytest.raises(UsageError, match=r"does not take model\.onnx") as caught:
        TARGET.build(wanted)
    assert "\n" not in str(caught.value)


def test_a_missing_runtime_says_how_to_get_it(
    tmp_path: Path, build_requests: BuildRequests, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "openvino", None)
    found = TARGET.available()
    assert (found.ok, found.install) == (False, "pip install 'openvino>=2026.0'")
    with pytest.raises(MissingRuntimeError, match=r"target 'openvino' cannot be built or run here.*pip install"):
        TARGET.load(tmp_path)
    with pytest.raises(MissingRuntimeError, match="openvino cannot be imported"):
        TARGET.build(build_requests(tmp_path))


@pytest.mark.parametrize(
    ("version", "devices", "reason"), [("2025.4.0-1", ["CPU"], "2025.4.0 is"), ("2026.4.1-2", ["GPU"], "no CPU plugin")]
)
def test_what_else_can_be_wrong_with_a_runtime(
    monkeypatch: pytest.MonkeyPatch, version: str, devices: list[str], reason: str
) -> None:
    fake = SimpleNamespace(__version__=version, Core=lambda: SimpleNamespace(available_devices=devices))
    monkeypatch.setitem(sys.modules, "openvino", fake)
    assert reason in TARGET.available().reason


def test_it_is_for_cpus_only(tmp_path: Path, build_requests: BuildRequests) -> None:
    assert "is a GPU" in TARGET.available(build_requests(tmp_path, profile="h100").profile).reason


def test_the_version_of_the_converter_dates_an_export(monkeypatch: pytest.MonkeyPatch) -> None:
    before = TARGET.fingerprint()
    monkeypatch.setattr(module, "tool_versions", lambda: {"openvino": "2099.1.0"})
    assert TARGET.fingerprint() == "2099.1.0" != before


@runtime
def test_nothing_is_reported_and_nothing_loads_before_it_is_needed(tmp_path: Path) -> None:
    """In a process of its own: without care, importing OpenVINO sends an event and writes `~/intel`."""
    code = (
        "import sys\n"
        "from lorkit.export.targets import get_target\n"
        "target = get_target('openvino')\n"
        "get_target('aoti')\n"
        "print([name for name in ('openvino', 'torch', 'onnxruntime') if name in sys.modules])\n"
        "assert target.available().ok\n"
        "import openvino.tools.ovc\n"
        "print([name for name in sys.modules if name.startswith('openvino_telemetry')])\n"
    )
    environment = {name: text for name, text in os.environ.items() if name not in ("CI", "TF_BUILD", "JENKINS_URL")}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120, cwd=tmp_path,
        env=environment | {"HOME": str(tmp_path)},
    )  # fmt: skip
    assert done.stdout.split("\n")[:2] == ["[]", "[]"]
    assert list(tmp_path.iterdir()) == []


def test_it_is_found_by_name() -> None:
    assert get_target("openvino") is TARGET


@runtime
def test_a_loop_is_refused_because_nothing_could_end_it(tmp_path: Path, build_request: BuildRequests) -> None:
    import openvino

    request = build_request(tmp_path)
    TARGET.build(request)
    value, floats, flag = helper.make_tensor_value_info, TensorProto.FLOAT, TensorProto.BOOL
    loop = helper.make_graph(
        [helper.make_node("Identity", ["on"], ["on_"]), helper.make_node("Relu", ["y"], ["y_"])],
        "body",
        [value("i", TensorProto.INT64, []), value("on", flag, []), value("y", floats, ["n", 4])],
        [value("on_", flag, []), value("y_", floats, ["n", 4])],
    )
    weights = [
        helper.make_tensor("trips", TensorProto.INT64, [], [2**40]),
        helper.make_tensor("go", flag, [], [True]),
    ]
    graph = helper.make_graph(
        [helper.make_node("Loop", ["trips", "go", "image"], ["logits"], name="endless", body=loop)],
        "endless",
        [value("image", floats, ["n", 4])],
        [value("logits", floats, ["n", 4])],
        weights,
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), tmp_path / MODEL)
    with pytest.raises(UsageError, match=r"model.onnx has the loop .*; use --target onnx, which can"):
        TARGET.build(request)
    openvino.save_model(openvino.Core().read_model(tmp_path / MODEL), tmp_path / XML, compress_to_fp16=False)
    note = read_json(tmp_path / NOTE)
    note["files"] = {name: digest_file(tmp_path / name) for name in note.get("files", {})}
    write_json(tmp_path / NOTE, note)
    with pytest.raises(ArtifactError, match=r"cannot read .*the loop .* may never end"):
        TARGET.load(tmp_path)


@runtime
@pytest.mark.parametrize(("precision", "joined"), [("fp32", 0), ("bf16", 1)])
def test_norms_of_large_windows_are_stored_axis_by_axis(
    build_request: BuildRequests, tmp_path: Path, precision: str, joined: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One sum over all voxels of a window has 18 times the rounding noise; bf16 would round the means."""
    request = build_request(tmp_path, precision=precision)
    monkeypatch.setattr(module, "require_bf16", lambda: None)
    info, result = helper.make_tensor_value_info, TensorProto.FLOAT
    shape = ["batch", 2, 32, 32, 32]
    scale = numpy_helper.from_array(np.ones(2, np.float32), "one")
    node = helper.make_node("InstanceNormalization", ["image", "one", "one"], ["logits"])
    graph = helper.make_graph([node], "g", [info("image", result, shape)], [info("logits", result, shape)], [scale])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)]), request.onnx_path)
    TARGET.build(request)
    assert (tmp_path / XML).read_text(encoding="utf-8").count('type="MVN"') == joined
