"""Torch-TensorRT against a small fake of the calls that are made: it cannot be installed without TensorRT.

What the fake compiles is the exported program itself, so tracing, casting, saving, loading and running are real.
"""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from lorkit import profiles
from lorkit.decompose.artifacts import digest_file, read_json
from lorkit.decompose.errors import ArtifactError, MissingRuntimeError, UsageError
from lorkit.export.targets.base import BuildRequest
from lorkit.export.targets.tensorrt import base, timing_cache, torch_trt
from lorkit.export.targets.tensorrt.torch_trt import TARGET

Make = Callable[..., BuildRequest]
GPU = {"name": "NVIDIA H200", "driver": "580.1", "memory_mib": 140000, "sm": "9.0"}
H200 = profiles.load("h200")
VERSION = f"{torch.__version__.split('+')[0]}"


class Compiled(torch.nn.Module):
    """What `compile` returns here: one engine that is the traced program."""

    def __init__(self, program: torch.export.ExportedProgram, part: str) -> None:
        super().__init__()
        self.program = program
        self.add_module(part, torch.nn.Identity())

    def named_children(self) -> Any:
        return iter([(name, child) for name, child in super().named_children() if name.startswith("_run")])


@pytest.fixture(params=["with use_explicit_typing", "without"])
def library(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """A fake whose `calls` and next `part` can be seen and set; torch's GPU is its CPU."""
    module: Any = ModuleType("torch_tensorrt")
    module.__version__, module.calls, module.part, module.saved = VERSION, {}, "_run_on_acc_0", {}
    module.timings = []

    def compile_(program: Any, options: dict[str, Any]) -> Compiled:
        timings = Path(options.pop("timing_cache_path"))
        module.timings.append(timings.read_bytes() if timings.is_file() else b"")
        timings.write_bytes(b"timings of this build")
        module.calls, module.program = options, program
        return Compiled(program, module.part)

    def compile_before(
        exported_program: Any, *, arg_inputs: Any, use_explicit_typing: bool = False, **rest: Any
    ) -> Any:
        return compile_(
            exported_program, {"arg_inputs": arg_inputs, "use_explicit_typing": use_explicit_typing, **rest}
        )

    def compile_after(exported_program: Any, *, arg_inputs: Any, **rest: Any) -> Any:
        return compile_(exported_program, {"arg_inputs": arg_inputs, **rest})

    def save(compiled: Compiled, path: str, **options: Any) -> None:
        module.saved = options
        torch.export.save(compiled.program, path)

    module.dynamo = SimpleNamespace(compile=compile_after if request.param == "without" else compile_before)
    module.Input, module.save, module.explicit = SimpleNamespace, save, request.param != "without"
    monkeypatch.setitem(sys.modules, "torch_tensorrt", module)
    monkeypatch.setattr(torch_trt, "DEVICE", "cpu")
    for place in (torch_trt, base):
        monkeypatch.setattr(place, "fingerprint", lambda: {"gpus": [GPU]})
    monkeypatch.setattr(torch_trt, "sees_gpu", lambda: True)
    monkeypatch.setattr(timing_cache, "DIRECTORY", tmp_path / "timings")
    (tmp_path / "model.onnx").write_bytes(b"graph")  # only its digest counts
    return module


def with_settings(plain: BuildRequest, **settings: Any) -> BuildRequest:
    profile = plain.profile.model_copy(update={"engine": profiles.EngineSettings(**settings)})
    return dataclasses.replace(plain, profile=profile)


@pytest.mark.parametrize(("precision", "allowed"), [("fp32", 1e-5), ("fp16", 0.02), ("bf16", 0.1)])
def test_what_is_saved_is_the_network_in_its_precision(
    library: Any, tmp_path: Path, build_request: Make, precision: str, allowed: float
) -> None:
    plain = build_request(tmp_path, precision=precision, profile="h200")
    before = {name: value.clone() for name, value in plain.network.state_dict().items()}
    assert TARGET.build(plain) == tmp_path / "model.pt2"
    dtypes = {value.dtype for name, value in library.program.state_dict.items() if value.is_floating_point()}
    assert dtypes == {{"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}[precision]}
    assert all(torch.equal(value, before[name]) for name, value in plain.network.state_dict().items())
    engine = TARGET.load(tmp_path)
    with torch.inference_mode():
        expected = plain.network(torch.from_numpy(plain.images)).numpy()
    found = engine.run(plain.images)
    assert found.dtype == np.float32
    assert np.abs(found - expected).max() < allowed
    if precision != "fp32":
        assert np.abs(found - expected).max() > 0
    assert engine.provider == f"Torch-TensorRT {VERSION}"
    engine.close()
    with pytest.raises(ArtifactError, match="closed"):
        engine.run(plain.images)


def test_compile_is_called_as_both_versions_know_it(library: Any, tmp_path: Path, build_request: Make) -> None:
    TARGET.build(with_settings(build_request(tmp_path, profile="h200"), refit=True, workspace_mib=64, tf32=True))
    calls = library.calls
    (image,) = calls.pop("arg_inputs")
    assert image.min_shape == (H200.batch_sizes.min, 1, 16, 16)
    assert image.opt_shape == (H200.batch_sizes.opt, 1, 16, 16)
    assert image.max_shape == (H200.batch_sizes.max, 1, 16, 16)
    assert image.dtype == torch.float32
    assert calls.pop("use_explicit_typing", None) is (True if library.explicit else None)
    assert calls == {
        "device": "cpu",
        "min_block_size": 1,
        "disable_tf32": False,
        "workspace_size": 64 * 2**20,
        "version_compatible": False,
        "hardware_compatible": False,
        "immutable_weights": False,
    }
    assert {name: library.saved[name] for name in ("output_format", "retrace")} == {
        "output_format": "exported_program",
        "retrace": False,
    }
    key = read_json(tmp_path / "engine.json")
    assert key["onnx"] == digest_file(tmp_path / "model.onnx")
    assert (key["torch_tensorrt"], key["gpu"], key["engines"], key["flags"]) == (VERSION, GPU["name"], 1, ["REFIT"])


def test_timings_are_kept_between_builds_and_damaged_ones_not_given(
    library: Any, tmp_path: Path, build_request: Make
) -> None:
    plain = build_request(tmp_path, profile="h200")
    for _ in range(2):
        TARGET.build(plain)
    (file,) = (tmp_path / "timings").iterdir()
    file.write_bytes(file.read_bytes()[:-1])
    TARGET.build(plain)
    assert library.timings == [b"", b"timings of this build", b""]


def test_any_batch_runs_where_the_program_is_of_a_fixed_one(library: Any, tmp_path: Path, build_request: Make) -> None:
    plain = build_request(tmp_path, profile="h200")
    fixed = plain.profile.model_copy(update={"batch_sizes": profiles.BatchRange(min=3, opt=3, max=3)})
    TARGET.build(dataclasses.replace(plain, profile=fixed))
    with torch.inference_mode():
        expected = plain.network(torch.from_numpy(plain.images)).numpy()
    np.testing.assert_allclose(TARGET.load(tmp_path).run(plain.images), expected, atol=1e-5)


def test_a_network_that_stays_in_torch_is_no_engine(library: Any, tmp_path: Path, build_request: Make) -> None:
    library.part = "_run_on_gpu_0"
    with pytest.raises(UsageError, match=r"left all of the network to torch \(_run_on_gpu_0\)"):
        TARGET.build(build_request(tmp_path, profile="h200"))
    assert not (tmp_path / "model.pt2").exists()


def test_a_refusal_is_one_line(
    library: Any, tmp_path: Path, build_request: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*arguments: Any, **options: Any) -> None:
        raise AssertionError("no converter\nfor aten.foo")

    monkeypatch.setattr(library.dynamo, "compile", refuse)
    with pytest.raises(UsageError, match=r"cannot compile the network \(no converter for aten\.foo\)"):
        TARGET.build(build_request(tmp_path, profile="h200"))
    with pytest.raises(UsageError, match=r"asks for engine\.strip.*--target trt"):
        TARGET.build(with_settings(build_request(tmp_path, profile="h200"), strip=True))


def test_bad_and_foreign_programs_are_one_line(
    library: Any, tmp_path: Path, build_request: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    TARGET.build(build_request(tmp_path, profile="h200"))
    assert TARGET.outdated(tmp_path, H200) == ""
    path = tmp_path / "model.pt2"
    intact = path.read_bytes()
    for damaged in (b"", b"no program", intact[: len(intact) // 2]):
        path.write_bytes(damaged)
        with pytest.raises(ArtifactError, match="torch cannot load") as caught:
            TARGET.load(tmp_path)
        assert "\n" not in str(caught.value)
    before = TARGET.fingerprint()
    for place in (torch_trt, base):
        monkeypatch.setattr(place, "fingerprint", lambda: {"gpus": [GPU | {"driver": "590.2"}]})
    assert TARGET.fingerprint() != before
    assert TARGET.outdated(tmp_path, H200) == "its engine was built for another driver (580.1, here 590.2)"
    with pytest.raises(ArtifactError, match=r"another driver \(580\.1, here 590\.2\).*--force"):
        TARGET.load(tmp_path)
    path.unlink()
    with pytest.raises(ArtifactError, match=r"has no model\.pt2"):
        TARGET.load(tmp_path)


def test_what_is_missing_is_told(
    library: Any, tmp_path: Path, build_request: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert TARGET.available().ok
    monkeypatch.setattr(library, "__version__", "2.2.0")
    assert "2.2.0 is installed with torch" in TARGET.available().reason
    monkeypatch.setattr(library, "__version__", VERSION)
    monkeypatch.setattr(torch_trt, "sees_gpu", lambda: False)
    assert "no NVIDIA GPU" in TARGET.available().reason
    monkeypatch.setitem(sys.modules, "torch_tensorrt", None)
    assert TARGET.available().install.startswith("pip install 'lorkit[torch-tensorrt]'")
    assert TARGET.fingerprint() == ""
    with pytest.raises(MissingRuntimeError, match="cannot be imported"):
        TARGET.build(build_request(tmp_path, profile="h200"))
    with pytest.raises(MissingRuntimeError, match="cannot be imported"):
        TARGET.load(tmp_path)
