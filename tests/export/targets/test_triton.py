from __future__ import annotations

import importlib.util
import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import onnx
import pytest
from google.protobuf import text_format
from onnx import TensorProto, helper
from PIL import Image

from lorkit.decompose.artifacts import digest_file, read_manifest, write_manifest
from lorkit.decompose.errors import ArtifactError
from lorkit.export.building.exporting import export
from lorkit.export.runtime.engine import load_engine
from lorkit.export.runtime.parity import measure_parity
from lorkit.export.targets import get_target
from lorkit.export.targets.base import BuildRequest
from lorkit.export.targets.triton import quoted

TARGET = get_target("triton")
SERVER = Path(__file__).with_name("small_triton.py")


@pytest.fixture(scope="module")
def schema() -> ModuleType:
    """Triton's own protobuf schema, without the gRPC library that its package loads."""
    spec = importlib.util.find_spec("tritonclient")
    assert spec is not None, "the dev extra has tritonclient"
    assert spec.submodule_search_locations is not None
    path = Path(spec.submodule_search_locations[0]) / "grpc" / "model_config_pb2.py"
    found = importlib.util.spec_from_file_location("model_config_pb2", path)
    assert found is not None
    assert found.loader is not None
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    return module


@pytest.fixture
def config(schema: ModuleType) -> Callable[[Path], Any]:
    """Return a function that reads an export's `config.pbtxt` against the schema."""

    def read(directory: Path) -> Any:
        (path,) = (directory / "triton").glob("*/config.pbtxt")
        return text_format.Parse(path.read_text(encoding="utf-8"), schema.ModelConfig())

    return read


def maps(path: Path, sides: tuple[int, ...]) -> None:
    """Write a graph whose output is a map of two channels."""
    image = helper.make_tensor_value_info("image", TensorProto.FLOAT, ["batch", 1, *sides])
    logits = helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", 2, *sides])
    node = helper.make_node("Concat", ["image", "image"], ["logits"], axis=1)
    graph = helper.make_graph([node], "maps", [image], [logits])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10), path)


def test_the_configuration_is_what_triton_reads(
    tmp_path: Path, build_request: Callable[..., BuildRequest], config: Callable[[Path], Any], schema: ModuleType
) -> None:
    plan = build_request(tmp_path, profile="h100", precision="fp16")
    served = TARGET.build(plan)
    found = config(tmp_path)
    assert (found.name, found.backend, found.platform) == ("chest-expert-fp16", "onnxruntime", "onnxruntime_onnx")
    assert found.max_batch_size == plan.profile.batch_sizes.max
    assert list(found.dynamic_batching.preferred_batch_size) == [plan.profile.batch_sizes.opt]
    (image,), (logits,), (group,) = found.input, found.output, found.instance_group
    kinds = {value.number: value.name for value in schema.DataType.DESCRIPTOR.values}
    assert (image.name, kinds[image.data_type], list(image.dims)) == ("image", "TYPE_FP32", [1, 16, 16])
    assert (logits.name, list(logits.dims), logits.label_filename) == ("logits", [3], "labels.txt")
    assert group.kind == group.KIND_GPU
    model = tmp_path / "triton" / found.name
    assert served == model / str(found.version_policy.specific.versions[0]) / found.default_model_filename
    assert (model / "labels.txt").read_text() == "healthy\nill\nunclear\n"
    facts = {key: value.string_value for key, value in found.parameters.items()}
    assert facts["lorkit.onnx_sha256"] == digest_file(served) == digest_file(tmp_path / "model.onnx")
    assert json.loads(facts["lorkit.recipe"]) == plan.info.recipe.to_json()
    assert (facts["lorkit.region"], facts["lorkit.synthetic"], facts["lorkit.precision"]) == ("chest", "false", "fp16")


def test_it_is_warmed_at_each_batch_size_with_images_that_may_be_kept(
    tmp_path: Path, build_request: Callable[..., BuildRequest], config: Callable[[Path], Any]
) -> None:
    plan = build_request(tmp_path, profile="h100")
    TARGET.build(plan)
    found = config(tmp_path)
    assert [entry.batch_size for entry in found.model_warmup] == [1, 8, 32]
    for entry, image in zip(found.model_warmup, plan.images, strict=False):
        stored = tmp_path / "triton" / found.name / "warmup" / entry.inputs["image"].input_data_file
        assert list(entry.inputs["image"].dims) == list(image.shape)
        np.testing.assert_array_equal(np.fromfile(stored, "<f4").reshape(image.shape), image)
    shutil.rmtree(tmp_path / "triton")
    TARGET.build(replace(plan, images=plan.images[:0]))
    assert all(entry.inputs["image"].zero_data for entry in config(tmp_path).model_warmup)


@pytest.mark.parametrize("sides", [(16, 16), (8, 12, 16)])
def test_a_map_has_channels_and_no_labels(
    tmp_path: Path, build_request: Callable[..., BuildRequest], config: Callable[[Path], Any], sides: tuple[int, ...]
) -> None:
    maps(tmp_path / "model.onnx", sides)
    names = {"task": "segmentation", "classes": ["lung"], "outputs": ["background", "lung"]}
    plan = replace(build_request(tmp_path, **names), images=np.ones((2, 1, *sides), np.float32))
    TARGET.build(plan)
    found = config(tmp_path)
    assert list(found.output[0].dims) == [2, *sides]
    assert found.output[0].label_filename == ""
    assert not list((tmp_path / "triton").glob("*/labels.txt"))
    assert found.instance_group[0].kind == found.instance_group[0].KIND_CPU
    assert json.loads(found.parameters["lorkit.outputs"].string_value) == ["background", "lung"]


def test_any_class_name_survives_the_text_format(
    tmp_path: Path, build_request: Callable[..., BuildRequest], config: Callable[[Path], Any]
) -> None:
    names = ['a "b" \\ c', "é\n} name: 'x'", "tab\t\x01\x7f"]
    TARGET.build(build_request(tmp_path, classes=names, outputs=names))
    found = config(tmp_path)
    assert json.loads(found.parameters["lorkit.classes"].string_value) == names
    assert found.name == "chest-expert-fp32"
    assert len((tmp_path / "triton" / found.name / "labels.txt").read_text(encoding="utf-8").splitlines()) == 3
    assert quoted('"') == '"\\""'


def test_another_content_takes_another_version(
    tmp_path: Path, build_request: Callable[..., BuildRequest], config: Callable[[Path], Any]
) -> None:
    plan = build_request(tmp_path)
    first = TARGET.build(plan)
    assert TARGET.build(plan) == first
    before = digest_file(first)
    model = onnx.load(plan.onnx_path)
    model.doc_string = "another"
    onnx.save(model, plan.onnx_path)
    second = TARGET.build(plan)
    assert second.parent != first.parent
    assert digest_file(first) == before
    assert list(config(tmp_path).version_policy.specific.versions) == [int(second.parent.name)]


def test_a_version_that_another_content_holds_is_not_taken(
    tmp_path: Path, build_request: Callable[..., BuildRequest]
) -> None:
    plan = build_request(tmp_path)
    first = TARGET.build(plan)
    first.write_bytes(b"a network of the same number")
    second = TARGET.build(plan)
    assert first.read_bytes() == b"a network of the same number"
    assert int(second.parent.name) == int(first.parent.name) + 1


def test_the_engine_is_the_file_that_is_served(tmp_path: Path, build_request: Callable[..., BuildRequest]) -> None:
    plan = build_request(tmp_path)
    served = TARGET.build(plan)
    plan.onnx_path.write_bytes(b"gone")  # what lies beside the repository does not matter
    engine = TARGET.load(tmp_path, threads=1)
    import torch

    with torch.inference_mode():
        reference = plan.network(torch.from_numpy(plan.images)).numpy()
    assert measure_parity(engine.run, plan.images, reference, precision="fp32", inputs="seeded").passed
    assert engine.provider == "CPUExecutionProvider"
    served.unlink()
    with pytest.raises(ArtifactError, match="is missing"):
        TARGET.load(tmp_path)
    shutil.rmtree(tmp_path / "triton")
    with pytest.raises(ArtifactError, match="no served version"):
        TARGET.load(tmp_path)


def test_drawings_are_served_only_with_permission(tmp_path: Path, build_request: Callable[..., BuildRequest]) -> None:
    plan = build_request(tmp_path, synthetic=True)
    with pytest.raises(ArtifactError, match=r"trained on phantoms only.*--allow-synthetic") as caught:
        TARGET.build(plan)
    assert caught.value.exit_code == 4
    assert not (tmp_path / "triton").exists()
    assert TARGET.build(replace(plan, allow_synthetic=True)).is_file()


def test_an_expert_becomes_a_sealed_repository(extracted: Path, tmp_path: Path) -> None:
    expert = shutil.copytree(extracted / "experts" / "chest", tmp_path / "expert")
    (result,) = export(expert, target="triton", profile="cpu-generic").exports
    assert result.parity.status == "passed"
    files = read_manifest(result.path, kind="export").files
    (served,) = (name for name in files if name.startswith("triton/") and name.endswith("model.onnx"))
    assert {f"triton/chest-expert-fp32/{name}" for name in ("config.pbtxt", "labels.txt", "warmup/image-0")} <= set(
        files
    )
    assert [again.up_to_date for again in export(expert, target="triton", profile="cpu-generic").exports] == [True]
    with load_engine(result.path) as engine, np.load(result.path / "samples.npz") as samples:
        np.testing.assert_allclose(engine.run(samples["image"]), samples["logits"], atol=1e-4)
    with (result.path / served).open("ab") as stream:
        stream.write(b"x")
    with pytest.raises(ArtifactError, match="has changed"):
        load_engine(result.path)


def test_an_expert_of_drawings_needs_permission_through_the_verb(extracted: Path, tmp_path: Path) -> None:
    expert = shutil.copytree(extracted / "experts" / "chest", tmp_path / "expert")
    info = json.loads((expert / "expert.json").read_text())
    (expert / "expert.json").write_text(json.dumps(info | {"synthetic": True}))
    write_manifest(expert, "expert", synthetic=True, outside=("exports",))
    with pytest.raises(ArtifactError, match="--allow-synthetic"):
        export(expert, target="triton", profile="cpu-generic")
    assert not list((expert / "exports").iterdir())
    (result,) = export(expert, target="triton", profile="cpu-generic", allow_synthetic=True).exports
    assert result.parity.status == "passed"


@contextmanager
def serving(repository: Path) -> Iterator[str]:
    command = [sys.executable, str(SERVER), str(repository)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            yield f"127.0.0.1:{int(process.stdout.readline())}"
        finally:
            process.stdin.close()
            try:
                process.wait(timeout=20)
            except subprocess.TimeoutExpired:
                process.kill()


def test_the_client_asks_a_server_and_agrees_with_the_example(extracted: Path, tmp_path: Path) -> None:
    expert = shutil.copytree(extracted / "experts" / "chest", tmp_path / "expert")
    (result,) = export(expert, target="triton", profile="cpu-generic").exports
    picture = tmp_path / "picture.png"
    values = np.random.default_rng(0).integers(0, 255, (40, 60), dtype=np.uint8)
    Image.fromarray(values).save(picture)
    shutil.copytree(result.path, tmp_path / "client", ignore=shutil.ignore_patterns("*.onnx"))  # the server has it
    with serving(result.path / "triton") as url:
        asked = python(tmp_path / "client" / "client.py", str(picture), "--url", url)
        wrong = subprocess.run(
            [sys.executable, str(tmp_path / "client" / "client.py"), str(picture), "--url", url, "--model", "knee"],
            capture_output=True, text=True, check=False, timeout=60,
        )  # fmt: skip
    assert wrong.returncode != 0
    assert "unknown model knee" in wrong.stderr
    alone = python(result.path / "example.py", str(picture))
    assert asked.pop("model") == "chest-expert-fp32"
    assert asked.keys() == alone.keys()
    assert asked["classes"] == ["normal", "pneumonia"]
    assert asked["synthetic"] is False
    np.testing.assert_allclose(asked["logits"], alone["logits"], atol=1e-5)


def python(script: Path, *arguments: str) -> dict[str, Any]:
    """Run a script where lorkit, torch and onnxruntime are not to be had, but for the example's own runtime."""
    absent = ("lorkit", "torch") if script.name == "example.py" else ("lorkit", "torch", "onnxruntime", "onnx")
    code = (
        "import runpy, sys\n"
        f"for name in {absent}: sys.modules[name] = None\n"
        f"sys.path.insert(0, {str(script.parent)!r})\n"
        f"sys.argv = {[str(script), *arguments]!r}\n"
        f"runpy.run_path({str(script)!r}, run_name='__main__')\n"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60)
    assert result.returncode == 0, result.stderr
    answer: dict[str, Any] = json.loads(result.stdout)
    return answer
