"""AOTInductor for real: compiled once a precision, run against torch, and refused wherever it would not be the same."""

from __future__ import annotations

import os
import platform
import re
import shutil
import sys
import zipfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from lone_scripts import alone
from PIL import Image
from torch import Tensor, nn
from torch._inductor import cpu_vec_isa
from torch._inductor.exc import CppCompileError, InductorError

from lorkit import profiles
from lorkit.decompose.artifacts import digest_file, read_json, write_json
from lorkit.decompose.errors import ArtifactError, MissingRuntimeError, UsageError
from lorkit.decompose.machine import fingerprint
from lorkit.decompose.models.deployable import Deployable
from lorkit.decompose.runs import open_run
from lorkit.decompose.runs.locked_data import recipe_of_region
from lorkit.export.building.exporting import Exporter
from lorkit.export.building.job import ExportJob
from lorkit.export.building.sources import ExportableNetwork
from lorkit.export.prediction.prediction import predict
from lorkit.export.runtime.parity import infer_all
from lorkit.export.runtime.reference_images import seeded_inputs
from lorkit.export.targets import get_target, host_note
from lorkit.export.targets.aoti import compilation
from lorkit.export.targets.aoti import target as aoti
from lorkit.export.targets.aoti.compilation import computes
from lorkit.export.targets.aoti.target import PACKAGE, TARGET
from lorkit.export.targets.base import BuildRequest
from lorkit.export.targets.host_note import NATIVE_BF16, NOTE

compiler = pytest.mark.skipif(shutil.which("g++") is None, reason="there is no C++ compiler")
bf16 = pytest.mark.skipif(not set(NATIVE_BF16) & set(fingerprint()["flags"]), reason="this CPU has no bf16")
BuildRequests = Callable[..., BuildRequest]
ERRORS = {"fp32": 1e-5, "bf16": 2e-2}  # as a share of the largest logit; bfloat16 holds 8 bits
IMAGES = seeded_inputs((1, 16, 16), 8)


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where packages are kept: one compiled a precision, with what compiling left in its surroundings."""
    return tmp_path_factory.mktemp("packages")


@pytest.fixture
def package(
    packages: Path,
    tmp_path: Path,
    build_request: BuildRequests,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    quick_compiler: None,
) -> Callable[..., Path]:
    """Return a function that gives a copy of the package of a precision, compiled by its first call."""

    def make(precision: str = "fp32") -> Path:
        kept = packages / precision
        if not kept.exists():
            around = packages / f"around-{precision}"
            for path in (kept, around / "home", around / "here", around / "temporary"):
                path.mkdir(parents=True)
            wanted = build_request(kept, precision=precision)
            capfd.readouterr()
            with monkeypatch.context() as patch:
                patch.setenv("HOME", str(around / "home"))
                patch.setattr("tempfile.tempdir", str(around / "temporary"))
                patch.chdir(around / "here")
                patch.setenv("TORCHINDUCTOR_CACHE_DIR", "untouched")
                patch.delenv("TRITON_CACHE_DIR", raising=False)
                before = dict(os.environ)
                assert TARGET.build(wanted) == kept / PACKAGE
                assert dict(os.environ) == before
            assert capfd.readouterr() == ("", ""), "compiling prints"
        copy = tmp_path / precision
        shutil.copytree(kept, copy)
        return copy

    return make


@pytest.fixture(autouse=True)
def _threads() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    assert torch.get_num_threads() == before, "a test left the process with another number of threads"


def noted(directory: Path, **changes: Any) -> None:
    """Change a note and make it fit the files beside it."""
    note = read_json(directory / NOTE)
    note["files"] = {name: digest_file(directory / name) for name in note["files"]}
    write_json(directory / NOTE, note | changes)


@compiler
@pytest.mark.parametrize("precision", ["fp32", pytest.param("bf16", marks=bf16)])
def test_it_gives_the_networks_logits_at_any_batch_size(
    package: Callable[..., Path], build_request: BuildRequests, precision: str
) -> None:
    directory = package(precision)
    with torch.inference_mode():
        expected = build_request(directory).network(torch.from_numpy(IMAGES)).numpy()
    engine = TARGET.load(directory, threads=1)
    for batch in (1, 3, 8):
        found = infer_all(engine.infer, {"image": IMAGES}, batch)["logits"]
        error = float(np.abs(found - expected).max()) / float(np.abs(expected).max())
        assert found.dtype == np.float32
        assert error < ERRORS[precision]
        assert precision == "fp32" or error > 1e-5  # a low precision that leaves no trace did not run
    capability = torch.backends.cpu.get_cpu_capability()
    assert engine.provider == f"AOTInductor {torch.__version__} CPU {capability} {precision}"
    engine.close()
    with pytest.raises(ArtifactError, match="closed"):
        engine.run(IMAGES)


@compiler
def test_its_own_example_agrees_with_predict(
    package: Callable[..., Path],
    build_request: BuildRequests,
    extracted: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """An export of a run whose network is the compiled one, so that it needs no compiler."""
    kept, run = package(), open_run(shutil.copytree(extracted, tmp_path / "run"))

    def copied(network: nn.Module, path: Path, shape: Sequence[int], **_: str) -> None:
        shutil.copyfile(kept / PACKAGE, path)

    monkeypatch.setattr(compilation, "compile_network", copied)
    source = ExportableNetwork(
        owner="expert",
        region=run.regions.get("knee"),
        parent=run.manifest,
        recipe=recipe_of_region(run, "knee"),
        home=run.exports_dir / "knee",
        run=run,
        load=lambda: build_request(kept).network,
        stated_cost=(100, 1000),
    )
    job = ExportJob(TARGET, profiles.load("cpu-generic"), "fp32")
    directory = Exporter(force=True).export(source, job).path
    picture = tmp_path / "picture.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (40, 30), dtype=np.uint8)).save(picture)
    found = alone(directory / TARGET.example.name, str(picture), without=("lorkit", "onnxruntime", "openvino"))
    options = {"allow_out_of_region": True, "allow_synthetic": True}
    wanted = predict(directory, [picture], **options).to_json()["predictions"][0]
    assert found["probabilities"] == pytest.approx(list(wanted["probabilities"].values()), abs=1e-4)
    assert found["not_for_diagnosis"] is True
    readme = (directory / "README.md").read_text(encoding="utf-8")
    assert f"python {TARGET.example.name} IMAGE.png" in readme
    assert "python example.py IMAGE.png" in readme


@compiler
def test_compiling_leaves_nothing_behind(package: Callable[..., Path], packages: Path) -> None:
    package()
    assert [path for path in (packages / "around-fp32").rglob("*") if path.is_file()] == []
    assert sorted(path.name for path in (packages / "fp32").iterdir()) == [NOTE, "model.onnx", PACKAGE]


@compiler
def test_the_package_holds_code_and_no_sources(package: Callable[..., Path]) -> None:
    with zipfile.ZipFile(package() / PACKAGE) as archive:
        names = archive.namelist()
        text = b"".join(archive.read(name) for name in names)
    assert sum(name.endswith(".so") for name in names) == 1
    assert not [name for name in names if name.endswith(".cpp")]
    assert b"-fPIC" not in text, "command lines hold the paths of the machine that compiled"


@compiler
def test_inputs_may_lie_anyhow_but_must_have_the_shape(package: Callable[..., Path]) -> None:
    """The code would read whatever lies in memory: it is never given another shape or dtype."""
    engine = TARGET.load(package())
    strided = np.ascontiguousarray(IMAGES[..., ::-1])[..., ::-1]
    strided.flags.writeable = False
    first = engine.run(strided)
    engine.run(np.zeros_like(IMAGES))
    np.testing.assert_array_equal(first, engine.run(IMAGES))
    for bad in (np.zeros((2, 3, 16, 16)), np.zeros((2, 1, 8, 8)), np.zeros((1, 16, 16))):
        with pytest.raises(ArtifactError, match=r"cannot take a batch.*required: \(N, 1, 16, 16\) float32") as caught:
            engine.run(bad.astype(np.float32))
        assert "\n" not in str(caught.value)
    with pytest.raises(ArtifactError, match="dtype float64"):
        engine.run(IMAGES.astype(np.float64))


@compiler
def test_threads_are_the_processs_and_are_put_back(package: Callable[..., Path]) -> None:
    directory, before = package(), torch.get_num_threads()
    one, three = TARGET.load(directory, threads=1), TARGET.load(directory, threads=3)
    free = TARGET.load(directory)
    for engine, expected in ((one, 1), (three, 3), (free, 3), (one, 1), (three, 3)):
        engine.run(IMAGES)
        assert torch.get_num_threads() == expected
    for engine in (one, free, three, three):
        engine.close()
    assert torch.get_num_threads() == before


@compiler
@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"torch": "2.9.0"}, r"for PyTorch 2\.9\.0, and here the PyTorch is"),
        ({"flags": ["avx2", "sse9"]}, r"with sse9, and here the CPU lacks them"),
        ({"host": {"platform": "Linux-aarch64", "capability": "SVE256"}}, "for platform Linux-aarch64"),
        ({"precision": "int8"}, r"an? aoti engine, int8; required: target aoti, one of fp32, bf16"),
        ({"target": "trt"}, "is of a trt engine"),
        ({"files": {"../model.pt2": "0"}}, r"files model\.pt2"),
        ({"shape": "anything"}, 'states shape as "anything"; required: a list'),
        ({"unknown": 1}, "has the unknown key unknown"),
    ],
)
def test_an_engine_of_another_machine_or_kind_is_refused(
    package: Callable[..., Path], changes: dict[str, Any], reason: str
) -> None:
    directory = package()
    noted(directory, **changes)
    with pytest.raises(ArtifactError, match=rf"{reason}.*--target aoti --force") as caught:
        TARGET.load(directory)
    assert "\n" not in str(caught.value)


@compiler
def test_code_for_a_gpu_does_not_run_on_the_cpu(package: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> None:
    directory = package()
    gpu = {"name": "NVIDIA H200", "sm": "9.0"}
    noted(directory, device="cuda", gpu=gpu)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(MissingRuntimeError, match=r"runs on NVIDIA H200, and PyTorch sees no GPU"):
        TARGET.load(directory)
    # a note that lies about the device of its code
    monkeypatch.setattr(aoti, "_require_same", lambda note, path: None)
    with pytest.raises(ArtifactError, match="is code for cpu; required: cuda"):
        TARGET.load(directory)


@compiler
@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("change", [lambda data: data[: len(data) // 2], lambda data: b"", lambda data: b"garbage"])
def test_a_damaged_package_is_one_line(
    package: Callable[..., Path], capfd: pytest.CaptureFixture[str], change: Any, signed: bool
) -> None:
    directory = package()
    (directory / PACKAGE).write_bytes(change((directory / PACKAGE).read_bytes()))
    if signed:
        noted(directory)
    capfd.readouterr()
    message = "PyTorch cannot load" if signed else "is not the file that was built"
    with pytest.raises(ArtifactError, match=message) as caught:
        TARGET.load(directory)
    assert "\n" not in str(caught.value)
    assert capfd.readouterr() == ("", "")


@compiler
def test_a_package_that_holds_more_than_code_is_refused(package: Callable[..., Path]) -> None:
    directory = package()
    with zipfile.ZipFile(directory / PACKAGE, "a") as archive:
        archive.writestr("model/data/weights/weight_0", b"\x80\x04pickle")
    noted(directory)
    with pytest.raises(ArtifactError, match=r"holds 'model/data/weights/weight_0'; required: compiled code"):
        TARGET.load(directory)


@compiler
@pytest.mark.parametrize("name", [PACKAGE, NOTE])
def test_a_missing_file_is_one_line(package: Callable[..., Path], name: str) -> None:
    directory = package()
    (directory / name).unlink()
    with pytest.raises(ArtifactError, match=rf"has no {name}"):
        TARGET.load(directory)


class Frozen(nn.Module):
    def forward(self, image: Tensor) -> Tensor:
        return image.reshape(2, -1)[:, :3]


class Averaging(nn.Module):
    def forward(self, image: Tensor) -> Tensor:
        return image.mean(0, keepdim=True).flatten(1).expand(2, -1)


class Casting(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Conv2d(1, 3, 16)

    def forward(self, image: Tensor) -> Tensor:
        weight, bias = self.inner.weight.float(), self.inner.bias
        assert bias is not None
        return nn.functional.conv2d(image.float(), weight, bias.float()).flatten(1)


@compiler
@pytest.mark.parametrize(
    ("inner", "precision", "reason"),
    [
        (Frozen(), "fp32", "does not compile Deployable"),
        (Averaging(), "fp32", "returns 2 rows for any number of images"),
        pytest.param(Casting(), "bf16", r"in another precision \(1 in float32\); required: bfloat16", marks=bf16),
    ],
)
def test_a_frozen_batch_or_a_dropped_precision_is_not_compiled(
    tmp_path: Path, build_request: BuildRequests, inner: nn.Module, precision: str, reason: str
) -> None:
    wanted = replace(
        build_request(tmp_path, precision=precision), network=Deployable(inner, mean=[0.5], std=[0.25]).eval()
    )
    with pytest.raises(UsageError, match=reason) as caught:
        TARGET.build(wanted)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / PACKAGE).exists()


@compiler
def test_code_that_computes_something_else_is_noticed(
    package: Callable[..., Path], build_request: BuildRequests
) -> None:
    directory = package()
    network, example = build_request(directory).network, torch.zeros(2, 1, 16, 16)

    class Off(nn.Module):
        """Right for all batches but single images, as the compiler's fault is."""

        def forward(self, image: Tensor) -> Tensor:
            logits: Tensor = network(image)
            return logits + (len(image) == 1) * logits.flip(-1)

    assert computes(directory / PACKAGE, network, example)
    assert not computes(directory / PACKAGE, Off(), example)


@compiler
@pytest.mark.parametrize("wrong", [1, 2])
def test_a_network_that_is_compiled_wrongly_is_compiled_without_layouts(
    tmp_path: Path, build_request: BuildRequests, monkeypatch: pytest.MonkeyPatch, wrong: int
) -> None:
    tried: list[bool] = []

    def fake(program: Any, path: Path, *, on_cpu: bool, layouts: bool) -> None:
        tried.append(layouts)
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("model/archive_format", "pt2")

    monkeypatch.setattr(compilation, "_compile", fake)
    monkeypatch.setattr(compilation, "computes", lambda *given: len(tried) > wrong)
    if wrong == 1:
        TARGET.build(build_request(tmp_path))
    else:
        with pytest.raises(UsageError, match="into code that returns other logits"):
            TARGET.build(build_request(tmp_path))
        assert not (tmp_path / NOTE).exists()
    assert tried == [True, False]


@pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="instructions of x86")
@pytest.mark.parametrize("wrapped", [False, True])
def test_a_compiler_that_refuses_the_cpus_instructions_is_asked_which_it_has(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wrapped: bool
) -> None:
    """Torch keeps what it took as known, and reports some errors of the compiler within its own."""
    tried: list[str] = []

    def fake(*given: Any, **settings: Any) -> None:
        tried.append(str(cpu_vec_isa.pick_vec_isa()))
        if tried[-1] != "avx2":
            refused = CppCompileError(["g++"], "unrecognized option")
            raise InductorError(refused, None) if wrapped else refused

    monkeypatch.setattr(torch._inductor, "aoti_compile_and_package", fake)
    monkeypatch.setattr(cpu_vec_isa, "x86_isa_checker", lambda: ["avx2", "avx512"])
    monkeypatch.setattr(cpu_vec_isa.VecISA, "check_build", lambda isa, code: "avx512" not in str(isa))
    monkeypatch.delenv("ATEN_CPU_CAPABILITY", raising=False)
    program: Any = None
    compilation._forget_instructions()
    try:
        compilation._compile(program, tmp_path / PACKAGE, on_cpu=True, layouts=True)
        assert tried == ["avx512", "avx2"]
    finally:
        compilation._forget_instructions()


def test_another_error_of_torch_is_no_reason_to_compile_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tried = []

    def fake(*given: Any, **settings: Any) -> None:
        tried.append(settings)
        raise InductorError(NotImplementedError("an operator"), None)

    monkeypatch.setattr(torch._inductor, "aoti_compile_and_package", fake)
    program: Any = None
    with pytest.raises(InductorError, match="an operator"):
        compilation._compile(program, tmp_path / PACKAGE, on_cpu=True, layouts=True)
    assert len(tried) == 1


def test_bf16_needs_a_cpu_that_has_it(
    tmp_path: Path, build_request: BuildRequests, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CXX", sys.executable)
    monkeypatch.setattr(host_note, "fingerprint", lambda: fingerprint() | {"flags": ["avx2", "avx512_vnni"]})
    with pytest.raises(MissingRuntimeError, match="has no bf16 instructions"):
        TARGET.build(build_request(tmp_path, precision="bf16"))


def test_what_is_missing_is_told_with_the_way_to_get_it(
    tmp_path: Path, build_request: BuildRequests, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CXX", "no-such-compiler")
    found = TARGET.available()
    assert (found.ok, found.reason) == (False, "there is no C++ compiler 'no-such-compiler'")
    assert "apt-get install g++" in found.install
    with pytest.raises(MissingRuntimeError, match=r"target 'aoti' cannot be built or run here.*apt-get install g\+\+"):
        TARGET.build(build_request(tmp_path))
    monkeypatch.setenv("CXX", sys.executable)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert "profile 'h100' is a GPU" in TARGET.available(build_request(tmp_path, profile="h100").profile).reason


def test_another_pytorch_or_cpu_dates_an_export(monkeypatch: pytest.MonkeyPatch) -> None:
    found = {TARGET.fingerprint()}
    with monkeypatch.context() as patch:
        patch.setattr(aoti, "tool_versions", lambda: {"torch": "2.99.0"})
        found.add(TARGET.fingerprint())
    monkeypatch.setattr(aoti, "fingerprint", lambda: fingerprint() | {"flags": ["avx2"]})
    found.add(TARGET.fingerprint())
    assert len(found) == 3
    assert all(re.fullmatch(r"[0-9a-f]{64}", digest) for digest in found)


def test_it_is_found_by_name() -> None:
    assert get_target("aoti") is TARGET
