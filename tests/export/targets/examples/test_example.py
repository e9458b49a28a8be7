"""The example beside each engine needs no lorkit, and says what predict says."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from lorkit.export.building.exporting import export
from lorkit.export.prediction.prediction import predict
from lorkit.export.targets import TARGETS, examples, get_target

ALONE = "import runpy, sys; {blocked} sys.argv[:] = sys.argv[1:]; sys.path.insert(0, {folder!r}); "
RUN = "runpy.run_path(sys.argv[0], run_name='__main__')"


def alone(script: Path, *arguments: str, without: tuple[str, ...]) -> dict[str, Any]:
    """Run a script where some packages cannot be imported."""
    blocked = "".join(f"sys.modules[{name!r}] = None; " for name in without)
    code = ALONE.format(blocked=blocked, folder=str(script.parent)) + RUN
    command = [sys.executable, "-c", code, str(script), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@pytest.mark.parametrize("target", ["openvino", "aoti"])
def test_an_engines_own_example_agrees_with_predict(extracted: Path, tmp_path: Path, target: str) -> None:
    run = Path(shutil.copytree(extracted, tmp_path / "run"))
    (result,) = export(run, region="chest", profile="cpu-generic", owners=("expert",), target=target).exports
    picture = tmp_path / "picture.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (40, 30), dtype=np.uint8)).save(picture)
    example = get_target(target).example
    others = ("lorkit", "onnxruntime", "torch") if target == "openvino" else ("lorkit", "onnxruntime", "openvino")
    found = alone(result.path / example.name, str(picture), without=others)
    wanted = predict(result.path, [picture], allow_out_of_region=True, allow_synthetic=True).to_json()["predictions"][0]
    assert found["probabilities"] == pytest.approx(list(wanted["probabilities"].values()), abs=1e-4)
    assert found["not_for_diagnosis"] is True
    readme = (result.path / "README.md").read_text(encoding="utf-8")
    assert f"python {example.name} IMAGE.png" in readme
    assert "python example.py IMAGE.png" in readme


def test_every_target_names_an_example_that_is_there() -> None:
    folder = Path(examples.__file__).parent
    for target in TARGETS.values():
        assert (folder / target.example.source).is_file()
