"""Which libraries a prediction loads: an engine needs its runtime, not what training and measuring need."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lorkit.export.building.exporting import export as build
from lorkit.export.targets import get_target

SLOW = (
    "lightning_fabric", "monai", "nibabel", "onnx", "pandas", "polars", "psutil", "pydicom", "rich", "scipy", "sklearn",
    "torch", "transformers", "yaml",
)  # fmt: skip
"""Libraries that take 10 ms and more to import."""
OWN = (
    "decompose.config.schema", "decompose.documents.expert", "decompose.documents.gate", "decompose.documents.report",
    "decompose.documents.scores", "decompose.runs.store", "decompose.data.formats.dicom",
    "decompose.data.readers.csv_table", "decompose.metrics.bootstrap", "export.prediction.volumes",
)  # fmt: skip
"""Modules of lorkit that define many documents, which a prediction neither reads nor writes, or no picture needs."""
CODE = """
import json, sys
from lorkit.cli.main import run_command_line
code = run_command_line(sys.argv[2:])
assert code == 0, code
print(json.dumps([name for name in json.loads(sys.argv[1]) if name in sys.modules]))
"""


@pytest.mark.parametrize(("target", "options"), [("onnx", ()), ("onnx", ("--json",)), ("openvino", ())])
def test_one_picture_loads_no_library_that_it_does_not_need(
    exported: Path, tmp_path: Path, target: str, options: tuple[str, ...]
) -> None:
    export = exported / "exports" / "chest" / f"{target}-cpu-generic-fp32"
    if target != "onnx":
        if not get_target(target).available().ok:
            pytest.skip(f"{target} cannot run here")
        home = Path(shutil.copytree(exported.parent.parent, tmp_path / "home"))
        built = build(home / "runs" / "small", region="chest", target=target, profile="cpu-generic").exports
        export = next(one.path for one in built if one.owner == "expert")
    picture = tmp_path / "picture.png"
    Image.fromarray(np.zeros((16, 16), dtype=np.uint8)).save(picture)
    names = [*SLOW, *(f"lorkit.{name}" for name in OWN)]
    words = ["predict", str(export), str(picture), "--allow-synthetic", "--allow-out-of-region", *options]
    done = subprocess.run(
        [sys.executable, "-c", CODE, json.dumps(names), *words],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1]) == []
