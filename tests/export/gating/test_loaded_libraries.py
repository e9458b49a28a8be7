"""Which libraries the gate loads: it runs two engines of ONNX Runtime and needs no PyTorch."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

SLOW = ("lightning_fabric", "monai", "onnxscript", "pandas", "polars", "pydicom", "sklearn", "torch", "transformers")
"""Libraries that take 20 ms and more to import."""
CODE = """
import json, sys
from lorkit.cli.main import run_command_line
code = run_command_line(sys.argv[2:])
print(json.dumps([code, [name for name in json.loads(sys.argv[1]) if name in sys.modules]]))
"""


def test_the_gate_of_onnx_exports_loads_no_library_that_it_does_not_need(exported: Path, tmp_path: Path) -> None:
    run = Path(shutil.copytree(exported.parent.parent, tmp_path / "home")) / "runs" / exported.name
    words = ["gate", "--run", str(run), "--region", "chest", "--max-seconds", "0.5"]
    done = subprocess.run(
        [sys.executable, "-c", CODE, json.dumps(SLOW), *words], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    code, loaded = json.loads(done.stdout.splitlines()[-1])
    assert code in (0, 1, 3)
    assert loaded == []
