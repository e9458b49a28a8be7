"""An endless loop ends with one line; short runs and other errors are as before."""

from __future__ import annotations

import ast
import os
import time
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper

from lorkit.decompose import errors
from lorkit.decompose.config import ImageConfig
from lorkit.decompose.errors import ArtifactError, LorkitError, UsageError
from lorkit.export.onnx.cpu_runner import inferrer
from lorkit.export.onnx.teacher import OnnxTeacher
from lorkit.export.targets import inference_limits
from lorkit.export.targets.inference_limits import LIMIT, run_within_limits, within_limits
from lorkit.export.targets.onnx import OnnxEngine, runtime_errors, session_options

IMAGE = np.arange(128, dtype=np.float32).reshape(2, 1, 8, 8)


def looping(trips: int) -> onnx.ModelProto:
    """A network that halves an image so many times before its last layer."""
    kind, flag = TensorProto.FLOAT, TensorProto.BOOL
    value = helper.make_tensor_value_info
    halved = [helper.make_node("Identity", ["on"], ["on_"]), helper.make_node("Mul", ["y", "half"], ["y_"])]
    body = helper.make_graph(
        halved,
        "body",
        [value("i", TensorProto.INT64, []), value("on", flag, []), value("y", kind, ["n", "k"])],
        [value("on_", flag, []), value("y_", kind, ["n", "k"])],
        [helper.make_tensor("half", kind, [], [0.5])],
    )
    nodes = [
        helper.make_node("Flatten", ["image"], ["x"]),
        helper.make_node("Loop", ["trips", "go", "x"], ["z"], body=body),
        helper.make_node("MatMul", ["z", "w"], ["logits"]),
    ]
    weights = [
        helper.make_tensor("trips", TensorProto.INT64, [], [trips]),
        helper.make_tensor("go", flag, [], [True]),
        helper.make_tensor("w", kind, [64, 2], np.ones(128)),
    ]
    inputs, outputs = [value("image", kind, ["n", 1, 8, 8])], [value("logits", kind, ["n", 2])]
    model = helper.make_model(
        helper.make_graph(nodes, "looping", inputs, outputs, weights),
        opset_imports=[helper.make_opsetid("", 17)],
        ir_version=9,
    )
    onnx.checker.check_model(model)
    return model


def opened(trips: int) -> onnxruntime.InferenceSession:
    options = session_options(1, "CPUExecutionProvider")
    options.log_severity_level = 4
    return onnxruntime.InferenceSession(looping(trips).SerializeToString(), options, providers=["CPUExecutionProvider"])


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(LIMIT, "0.2")
    monkeypatch.setattr(inference_limits, "POLL_S", 0.05)


def test_an_endless_network_is_an_error_in_time(short: None) -> None:
    engine = OnnxEngine(opened(2**62))
    begin = time.monotonic()
    with pytest.raises(ArtifactError, match=r"batch of shape \(2, 1, 8, 8\) and was ended after 0.2 s"):
        engine.infer({"image": IMAGE})
    assert time.monotonic() - begin < 20
    with pytest.raises(ArtifactError, match="LORKIT_ENGINE_SECONDS"):
        inferrer(looping(2**62))({"image": IMAGE})


def test_an_endless_teacher_is_an_error_in_time(short: None, tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    onnx.save(looping(2**62), tmp_path / "teacher.onnx")
    teacher = OnnxTeacher(tmp_path / "teacher.onnx", ImageConfig(size=8, channels=1), ["logits"], "logits")
    with pytest.raises(ArtifactError, match="endless loop"):
        teacher.features(torch.from_numpy(IMAGE))


def test_a_loop_that_ends_answers_also_with_options_that_ended_a_run(short: None) -> None:
    options = onnxruntime.RunOptions()
    with pytest.raises(ArtifactError):
        run_within_limits(opened(2**62), ["logits"], {"image": IMAGE}, options)
    (found,) = run_within_limits(opened(3), ["logits"], {"image": IMAGE}, options)
    wanted = IMAGE.reshape(2, 64).astype(np.float64).sum(1) / 8
    np.testing.assert_allclose(found, np.stack([wanted, wanted], 1))


def test_memory_is_limited_too(monkeypatch: pytest.MonkeyPatch) -> None:
    grown = iter(range(0, 2**40, 2**30))
    monkeypatch.setattr(inference_limits, "POLL_S", 0.05)
    monkeypatch.setattr(inference_limits, "resident_bytes", lambda: next(grown))
    monkeypatch.setattr(inference_limits, "available_bytes", lambda: 2**31)
    with pytest.raises(ArtifactError, match=r"it took 2.0 GiB of the 2.0 GiB of memory that were free"):
        run_within_limits(opened(2**62), ["logits"], {"image": IMAGE})


def test_errors_of_the_runtime_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(runtime_errors()):
        run_within_limits(opened(3), ["logits"], {"image": IMAGE[:, :, :3]})


@pytest.mark.parametrize("given", ["x", "0", "-1", "nan", "inf", ""])
def test_a_limit_that_is_no_time_is_refused(given: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(LIMIT, given)
    with pytest.raises(UsageError, match="required: seconds, above 0"):
        run_within_limits(opened(3), ["logits"], {"image": IMAGE})


def test_a_fork_has_its_own_thread(short: None) -> None:
    with pytest.raises(ArtifactError):
        run_within_limits(opened(2**62), ["logits"], {"image": IMAGE})
    before = inference_limits._watcher
    child = os.fork()
    if child == 0:
        os._exit(int(inference_limits._watcher is before))
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def late(error: BaseException | None = None) -> None:
    """Return, or raise, after the limit."""
    time.sleep(0.5)
    if error is not None:
        raise error


def wait_for(found: list[LorkitError]) -> None:
    until = time.monotonic() + 20
    while not found and time.monotonic() < until:
        time.sleep(0.01)


@pytest.fixture
def ends(monkeypatch: pytest.MonkeyPatch) -> list[LorkitError]:
    """Return the errors that a command would end with."""
    found: list[LorkitError] = []
    monkeypatch.setattr(errors, "_enders", [found.append])
    return found


def test_a_command_ends_while_a_runtime_that_cannot_be_told_so_still_computes(
    short: None, ends: list[LorkitError]
) -> None:
    with pytest.raises(ArtifactError, match="endless loop"), within_limits({"image": IMAGE}):
        wait_for(ends)
    assert ends[0].exit_code == 4
    assert "did not answer a batch of shape (2, 1, 8, 8) and was ended after 0.2 s" in str(ends[0])


def test_a_program_of_the_users_gets_the_error_when_the_runtime_returns(short: None) -> None:
    with pytest.raises(ArtifactError, match="was ended after"), within_limits({"image": IMAGE}):
        late()
    with pytest.raises(ArtifactError, match="was ended after"), within_limits({"image": IMAGE}):
        late(RuntimeError("of the runtime"))


def test_other_errors_within_the_limits_stay(short: None) -> None:
    with pytest.raises(RuntimeError, match="of the runtime"), within_limits({"image": IMAGE}):
        raise RuntimeError("of the runtime")


def test_an_interruption_stays(short: None) -> None:
    with pytest.raises(KeyboardInterrupt), within_limits({"image": IMAGE}):
        late(KeyboardInterrupt())


ENGINES = sorted((Path(inference_limits.__file__).parent).rglob("*.py"))


def calls_of(function: ast.AST) -> set[str]:
    return {ast.unparse(node.func) for node in ast.walk(function) if isinstance(node, ast.Call)}


def test_every_engine_has_the_limits() -> None:
    limited = {}
    for path in ENGINES:
        for one in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            bases = [ast.unparse(base) for base in one.bases] if isinstance(one, ast.ClassDef) else []
            if any(base.endswith("Engine") for base in bases):
                limited[one.name] = bool(calls_of(one) & {"within_limits", "run_within_limits"})  # type: ignore[attr-defined]
    without = {name for name, has in limited.items() if not has}
    assert len(limited) >= 8
    assert without == {
        "SingleEngine",  # has no runtime
        "TensorrtEngine",  # `RangedEngine` calls them
        "TorchTrtEngine",
    }
