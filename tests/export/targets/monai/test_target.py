from __future__ import annotations

import json
import shutil
import subprocess
import sys
import warnings
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from lorkit.decompose.artifacts import read_json, read_manifest, write_json
from lorkit.decompose.errors import ArtifactError, UsageError
from lorkit.export.building.exporting import export
from lorkit.export.runtime.engine import load_engine
from lorkit.export.runtime.parity import measure_parity
from lorkit.export.targets import get_target
from lorkit.export.targets.base import BuildRequest

TARGET = get_target("monai")
LOCAL_SCHEMA = Path(__file__).with_name("monai_metadata_schema.json")


@pytest.fixture
def bundle(tmp_path: Path, build_request: Callable[..., BuildRequest]) -> Path:
    TARGET.build(build_request(tmp_path))
    return tmp_path / "bundle"


@pytest.fixture
def monai_bundle() -> Iterator[Any]:
    """MONAI's own verifiers; they warn about what they are asked to do."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import monai.bundle

        yield monai.bundle


def verify_metadata(monai_bundle: Any, path: Path, tmp_path: Path) -> None:
    schema = Path(shutil.copy(LOCAL_SCHEMA, tmp_path / "schema.json"))  # a file that is there is not downloaded
    monai_bundle.verify_metadata(meta_file=str(path), filepath=str(schema))


def verify_network(monai_bundle: Any, bundle: Path) -> None:
    monai_bundle.verify_net_in_out(
        net_id="network_def",
        meta_file=str(bundle / "configs" / "metadata.json"),
        config_file=str(bundle / "configs" / "inference.json"),
        device="cpu",
        bundle_root=str(bundle),
    )


def changed(path: Path, **values: Any) -> None:
    write_json(path, read_json(path) | values)


def test_the_bundle_is_laid_out_as_monai_says(bundle: Path) -> None:
    found = {path.relative_to(bundle).as_posix() for path in bundle.rglob("*") if path.is_file()}
    assert found == {
        "LICENSE", "configs/metadata.json", "configs/inference.json", "docs/README.md", "models/model.ts"
    }  # fmt: skip
    metadata = read_json(bundle / "configs" / "metadata.json")
    assert metadata["network_data_format"]["outputs"]["pred"]["channel_def"] == {
        "0": "healthy", "1": "ill", "2": "unclear"
    }  # fmt: skip
    assert metadata["network_data_format"]["inputs"]["image"]["spatial_shape"] == [16, 16]
    assert metadata["lorkit"]["region"] == "chest"


def test_monai_accepts_the_metadata(bundle: Path, monai_bundle: Any, tmp_path: Path) -> None:
    path = bundle / "configs" / "metadata.json"
    verify_metadata(monai_bundle, path, tmp_path)
    changed(path, network_data_format={"inputs": {}, "outputs": {}})
    with pytest.raises(ValueError, match="Failed validating"):
        verify_metadata(monai_bundle, path, tmp_path)


def test_monai_accepts_the_network(bundle: Path, monai_bundle: Any) -> None:
    verify_network(monai_bundle, bundle)
    path = bundle / "configs" / "metadata.json"
    layout = read_json(path)["network_data_format"]
    layout["outputs"]["pred"]["num_channels"] = 4
    changed(path, network_data_format=layout)
    with pytest.raises(ValueError, match="output channel number `3` doesn't match"):
        verify_network(monai_bundle, bundle)


def test_monai_misses_no_property_of_an_inference_workflow(bundle: Path, monai_bundle: Any) -> None:
    workflow = monai_bundle.ConfigWorkflow(
        config_file=str(bundle / "configs" / "inference.json"),
        workflow_type="inference",
        logging_file=False,
        bundle_root=str(bundle),
    )
    workflow.initialize()
    assert workflow.check_properties() == []


def test_a_drawing_is_marked(tmp_path: Path, build_request: Callable[..., BuildRequest]) -> None:
    TARGET.build(build_request(tmp_path, synthetic=True))
    metadata = read_json(tmp_path / "bundle" / "configs" / "metadata.json")
    assert metadata["lorkit"]["synthetic"] is True
    assert "phantom images" in metadata["description"]
    assert "phantom images" in (tmp_path / "bundle" / "docs" / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", ["$print(1)", "@network_def", "%x.json::a", "a @::b", "a\n@#b"])
def test_names_that_monai_would_run_are_refused(
    tmp_path: Path, build_request: Callable[..., BuildRequest], name: str
) -> None:
    with pytest.raises(UsageError, match=r"MONAI would run or resolve.*rename the class"):
        TARGET.build(build_request(tmp_path, classes=["healthy", name, "c"], outputs=["healthy", name, "c"]))
    assert not (tmp_path / "bundle").exists()


def test_the_engine_is_the_model_of_the_bundle(tmp_path: Path, build_request: Callable[..., BuildRequest]) -> None:
    plan = build_request(tmp_path)
    path = TARGET.build(plan)
    assert path == tmp_path / "bundle" / "models" / "model.ts"
    plan.onnx_path.unlink()
    images = np.random.default_rng(0).random((9, 1, 16, 16), dtype=np.float32)
    with torch.inference_mode():
        reference = plan.network(torch.from_numpy(images)).numpy()
    engine = TARGET.load(tmp_path)
    assert engine.provider == f"torch {torch.__version__} CPU"
    found = measure_parity(engine.run, images, reference, precision="fp32", inputs="seeded")
    assert found.passed
    assert list(found.batches) == [1, 3, 8]
    engine.close()
    with pytest.raises(ArtifactError, match="closed"):
        engine.run(images)


class Two(torch.nn.Module):
    """A network of two images."""

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return image.flatten(1)[:, :3] + torch.zeros(2, 3)


def test_a_model_that_fixes_its_batch_fails_with_one_line(
    tmp_path: Path, build_request: Callable[..., BuildRequest]
) -> None:
    TARGET.build(replace(build_request(tmp_path), network=Two()))
    engine = TARGET.load(tmp_path)
    assert engine.run(np.ones((2, 1, 16, 16), np.float32)).shape == (2, 3)
    with pytest.raises(ArtifactError, match="free batch size") as caught:
        engine.run(np.ones((3, 1, 16, 16), np.float32))
    assert "\n" not in str(caught.value)


def test_what_is_broken_is_no_traceback(bundle: Path) -> None:
    (bundle / "models" / "model.ts").write_bytes(b"not a model")
    with pytest.raises(ArtifactError, match="torch cannot read") as caught:
        TARGET.load(bundle.parent)
    assert "\n" not in str(caught.value)
    (bundle / "models" / "model.ts").unlink()
    with pytest.raises(ArtifactError, match="is missing"):
        TARGET.load(bundle.parent)


def test_the_model_names_no_machine(bundle: Path) -> None:
    with zipfile.ZipFile(bundle / "models" / "model.ts") as archive:
        content = b"".join(archive.read(name) for name in archive.namelist())
    for trace in (str(bundle), str(Path(torch.__file__).parent), str(Path(__file__).parents[3])):
        assert trace.encode() not in content


def test_an_expert_becomes_a_sealed_bundle_whose_example_needs_no_lorkit(extracted: Path, tmp_path: Path) -> None:
    expert = shutil.copytree(extracted / "experts" / "chest", tmp_path / "expert")
    (result,) = export(expert, target="monai", profile="cpu-generic").exports
    assert result.parity.status == "passed"
    files = read_manifest(result.path, kind="export").files
    assert {"bundle/models/model.ts", "bundle/configs/metadata.json", "bundle/docs/README.md"} <= set(files)
    with load_engine(result.path) as engine, np.load(result.path / "samples.npz") as samples:
        np.testing.assert_allclose(engine.run(samples["image"]), samples["logits"], atol=1e-4)
    picture = tmp_path / "picture.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (40, 60), dtype=np.uint8)).save(picture)
    alone = python(result.path / "bundle_example.py", ("lorkit", "monai", "onnxruntime"), str(picture))
    other = python(result.path / "example.py", ("lorkit", "torch"), str(picture))
    assert alone["classes"] == ["normal", "pneumonia"]
    np.testing.assert_allclose(alone["logits"], other["logits"], atol=1e-4)
    assert alone | {"logits": 0, "probabilities": 0} == other | {"logits": 0, "probabilities": 0}


def python(script: Path, absent: tuple[str, ...], *arguments: str) -> dict[str, Any]:
    """Run a script where some packages are not to be had."""
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
