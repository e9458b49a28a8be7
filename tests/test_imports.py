"""What importing lorkit does and needs, in a process of its own: no telemetry, no module of one operating system."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parent.parent
ROOMS = ("cli", "decompose", "export", "profiles")
MODULES = sorted(
    ".".join(("lorkit", *path.relative_to(ROOT).with_suffix("").parts)).removesuffix(".__init__")
    for room in ROOMS
    for path in (ROOT / room).rglob("*.py")
    if "examples" not in path.parts
)
FOLDERS = ("benchmarks", "examples", "export/targets/examples")
SCRIPTS = [path for folder in FOLDERS for path in sorted((ROOT / folder).rglob("*.py"))]

# Tells, for each first import of ONNX Runtime, whether its telemetry was off by then.
WATCH = """
import importlib, json, os, runpy, sys
seen = []
class Watch:
    @staticmethod
    def find_spec(name, path=None, target=None):
        if name == "onnxruntime":
            seen.append(os.environ.get("ORT_DISABLE_TELEMETRY"))
sys.meta_path.insert(0, Watch)
"""
IMPORT_ALL = """
import psutil  # before: on Linux, and only there, it imports `resource` itself
sys.modules.update(fcntl=None, resource=None)
failed = {}
for name in sys.argv[1:]:
    try:
        importlib.import_module(name)
    except Exception as error:
        failed[name] = repr(error)
print(json.dumps({"failed": failed, "telemetry": seen}))
"""
RUN_SCRIPT = """
sys.argv[:] = sys.argv[1:]
try:
    runpy.run_path(sys.argv[0], run_name="__main__")
finally:
    print(json.dumps(seen))
"""


def output_of(code: str, *arguments: str) -> Any:
    environment = {name: value for name, value in os.environ.items() if name != "ORT_DISABLE_TELEMETRY"}
    command = [sys.executable, "-W", "ignore", "-c", WATCH + code, *arguments]
    done = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)
    assert done.stdout, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.fixture(scope="module")
def imported() -> dict[str, Any]:
    """Every module of lorkit, imported by a process where `fcntl` and `resource` are hidden, as on Windows."""
    found: dict[str, Any] = output_of(IMPORT_ALL, *MODULES)
    return found


def test_every_module_imports_where_there_is_no_fcntl_and_no_resource(imported: dict[str, Any]) -> None:
    assert imported["failed"] == {}


def test_lorkit_turns_telemetry_off_before_it_imports_onnx_runtime(imported: dict[str, Any]) -> None:
    assert imported["telemetry"] == ["1"]


def test_a_script_beside_an_export_turns_telemetry_off_by_itself() -> None:
    users = [path for path in SCRIPTS if "example" in str(path) and "import onnxruntime" in path.read_text("utf-8")]
    assert users
    for path in users:
        assert output_of(RUN_SCRIPT, str(path), "picture.png") == ["1"], path


@pytest.mark.parametrize("path", SCRIPTS, ids=[path.name for path in SCRIPTS])
def test_no_script_imports_onnx_runtime_before_lorkit(path: Path) -> None:
    """At the top it would come first, since imports are sorted; in a function lorkit has turned telemetry off."""
    outside = ast.parse(path.read_text(encoding="utf-8")).body
    names = [alias.name for node in outside if isinstance(node, ast.Import) for alias in node.names]
    names += [node.module or "" for node in outside if isinstance(node, ast.ImportFrom)]
    assert not [name for name in names if name.split(".")[0] == "onnxruntime"]
