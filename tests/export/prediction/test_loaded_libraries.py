"""Which libraries a prediction loads: an engine needs its runtime, not what training and measuring need."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

SLOW = (
    "lightning_fabric", "monai", "nibabel", "pandas", "polars", "pydicom", "scipy.ndimage", "scipy.optimize",
    "scipy.sparse.csgraph", "scipy.stats", "sklearn", "torch", "transformers", "urllib.request",
)  # fmt: skip
"""Libraries that take 20 ms and more to import."""
CODE = """
import json, sys
from lorkit.cli.main import run_command_line
code = run_command_line(sys.argv[2:])
assert code == 0, code
print(json.dumps([name for name in json.loads(sys.argv[1]) if name in sys.modules]))
"""


@pytest.mark.parametrize("options", [(), ("--json",)])
def test_one_picture_loads_no_library_that_it_does_not_need(
    exported: Path, tmp_path: Path, options: tuple[str, ...]
) -> None:
    picture = tmp_path / "picture.png"
    Image.fromarray(np.zeros((16, 16), dtype=np.uint8)).save(picture)
    export = exported / "exports" / "chest" / "onnx-cpu-generic-fp32"
    words = ["predict", str(export), str(picture), "--allow-synthetic", "--allow-out-of-region", *options]
    done = subprocess.run(
        [sys.executable, "-c", CODE, json.dumps(SLOW), *words], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1]) == []
