"""NaN is no answer: whatever runs a network refuses its outputs."""

from __future__ import annotations

import ast
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from PIL import Image
from resealing import seal_manifest

from lorkit.cli.main import run_command_line
from lorkit.decompose.artifacts import digest_file, read_json, write_json
from lorkit.decompose.errors import DataError
from lorkit.decompose.runs import Run, export_directory
from lorkit.export import trust_native
from lorkit.export.building.packaging import READER, write_reader
from lorkit.export.runtime.engine import CheckedEngine, load_engine
from lorkit.export.runtime.outputs import require_finite
from lorkit.export.targets import TARGETS
from lorkit.export.targets.base import Engine

ROOT = Path(__file__).parents[3]
NAN = float("nan")
"""Of the threshold of `write_onnx`: it becomes the bias of the logits."""


def reseal(directory: Path, **extra: str) -> None:
    """State the digests of the files as they are now."""
    manifest = read_json(directory / "manifest.json")
    manifest["files"] = {name: digest_file(directory / name) for name in manifest["files"]}
    manifest["extra"] |= extra
    write_json(directory / "manifest.json", manifest)
    seal_manifest(directory)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_the_inputs_without_an_answer_are_counted(bad: float) -> None:
    logits = np.zeros((4, 3), np.float32)
    require_finite({"logits": logits}, Path("x"))
    require_finite({"logits": logits + np.float32(3e38)}, Path("x"))  # a sum that overflows is no NaN
    logits[1:3, 1] = bad
    with pytest.raises(DataError, match=r"x answers 2 of 4 inputs with NaN or infinity \(second\); required: finite"):
        require_finite({"first": np.zeros((4, 1)), "second": logits}, Path("x"))


@pytest.mark.parametrize("name", sorted(TARGETS))
def test_every_runtime_is_behind_the_check(
    name: str, make_export: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The engine of each target is only loaded by `load_engine`, which wraps it; here its network answers NaN."""

    class Broken(Engine):
        def infer(self, inputs: Any) -> Any:
            return {"logits": np.full((len(inputs["image"]), 2), np.nan, np.float32)}

    provider = "CPUExecutionProvider"
    monkeypatch.setattr(type(TARGETS[name]), "load", lambda *_, **__: Broken(object(), provider))
    path = make_export("broken")
    info = read_json(path / "export.json")
    write_json(path / "export.json", info | {"target": name})
    reseal(path, target=name)
    with trust_native(), load_engine(path) as engine, pytest.raises(DataError, match="1 of 1 inputs with NaN"):
        engine.run(np.zeros((1, 1, 16, 16), np.float32))
    assert isinstance(engine, CheckedEngine)


def test_only_load_engine_loads_an_engine() -> None:
    """So that no caller forgets the check; a self-test compares the outputs of a network that it has just built."""
    found = {
        path.relative_to(ROOT).as_posix()
        for room in ("cli", "decompose", "export")
        for path in (ROOT / room).rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr == "load"
        and isinstance(node.func.value, ast.Call)
        and isinstance(node.func.value.func, ast.Name)
        and node.func.value.func.id == "get_target"
    }
    assert found == {"cli/selftest.py", "export/runtime/engine.py"}


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    path = tmp_path / "picture.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (16, 16), dtype=np.uint8)).save(path)
    return path


@pytest.mark.parametrize(
    "words",
    [
        ("predict", "--region", "chest", "--allow-synthetic", "picture.png"),
        ("bench", "--region", "chest", "--max-seconds", "0.1", "--batch", "1"),
        ("gate", "--region", "chest", "--max-seconds", "0.1"),
    ],
    ids=lambda words: words[0],
)
def test_a_command_ends_with_4(
    words: tuple[str, ...], a_run: Run, picture: Path, make_export: Callable[..., Path], capsys: Any
) -> None:
    place = export_directory(a_run, "expert", "chest", "onnx", "cpu-generic", "fp32")
    shutil.rmtree(place)
    shutil.move(make_export("broken", parent=a_run.path, threshold=NAN), place)
    assert run_command_line(words) == 4
    assert "inputs with NaN or infinity" in capsys.readouterr().err


def test_verify_ends_with_4(exported: Path, tmp_path: Path, capsys: Any) -> None:
    run = Path(shutil.copytree(exported, tmp_path / "run"))
    (path,) = (run / "exports" / "chest").iterdir()
    model = onnx.load(path / "model.onnx")
    for tensor in model.graph.initializer:
        values = onnx.numpy_helper.to_array(tensor)
        if values.dtype == np.float32 and values.ndim == 1:
            tensor.CopyFrom(onnx.numpy_helper.from_array(np.full_like(values, np.nan), tensor.name))
    onnx.save(model, path / "model.onnx")
    size = {"size_bytes": (path / "model.onnx").stat().st_size, "onnx_digest": digest_file(path / "model.onnx")}
    info = read_json(path / "export.json") | size
    write_json(path / "export.json", info)
    reseal(path)
    assert run_command_line(["verify", str(path)]) == 4
    assert "NaN or infinity" in capsys.readouterr().err


@pytest.mark.parametrize("words", [("predict", "picture.png"), ("evaluate",)], ids=lambda words: words[0])
def test_an_expert_with_nan_weights_ends_with_4(
    words: tuple[str, ...], extracted: Path, tmp_path: Path, picture: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from safetensors.torch import load_file, save_file

    expert = Path(shutil.copytree(extracted, tmp_path / "run")) / "experts" / "chest"
    weights = load_file(expert / "model.safetensors")
    weights = {name: torch.full_like(one, NAN) if one.is_floating_point() else one for name, one in weights.items()}
    save_file(weights, expert / "model.safetensors")
    reseal(expert)
    monkeypatch.chdir(tmp_path)
    assert run_command_line([words[0], str(expert), *words[1:]]) == 4


def test_the_script_beside_an_export_ends_with_4(make_export: Callable[..., Path], picture: Path) -> None:
    path = make_export("broken", threshold=NAN)
    metadata = {"classes": '["a", "b"]', "task": "classification", "synthetic": "true"}
    metadata["recipe"] = json.dumps(read_json(path / "export.json")["recipe"])
    model = onnx.load(path / "model.onnx")
    onnx.helper.set_model_props(model, {f"lorkit.{name}": text for name, text in metadata.items()})
    onnx.save(model, path / "model.onnx")
    write_reader(path / READER)
    script = ROOT / "export" / "targets" / "examples" / "example.py"
    (path / "example.py").write_text(script.read_text(encoding="utf-8"), encoding="utf-8")
    words = [sys.executable, str(path / "example.py"), str(picture)]
    done = subprocess.run(words, capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, done.stdout) == (4, "")
    assert done.stderr.startswith("error: the network answers with NaN or infinity; required: finite outputs")
