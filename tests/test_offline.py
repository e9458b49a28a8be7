"""Nothing that lorkit runs reports to anyone: no packet leaves the machine, and the home directory stays empty."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import offline_commands
import pytest

from lorkit.cli import application
from lorkit.export.targets import examples

pytestmark = pytest.mark.slow
REPORTERS = ("ORT_", "HF_", "MLFLOW_", "DO_NOT_TRACK", "DISABLE_TELEMETRY", "XDG_")


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def told(home: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """What a process with an empty home and a network without other hosts ran."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(REPORTERS)}
    folder = tmp_path_factory.mktemp("offline")
    environment |= {"HOME": str(home), "USERPROFILE": str(home), "TOLD": str(folder / "told.json")}
    words = [sys.executable, "-W", "ignore", offline_commands.__file__]
    done = subprocess.run(words, env=environment, cwd=folder, capture_output=True, text=True, timeout=1200, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads((folder / "told.json").read_text(encoding="utf-8"))
    allowed = {line: (0, 1, 3) if line.startswith("gate") else (0,) for line in found["codes"]}
    assert {line: code for line, code in found["codes"].items() if code not in allowed[line]} == {}, done.stderr
    assert set(found["scripts"].values()) == {0}, (found["scripts"], done.stderr)
    return found


def test_every_command_and_every_kind_of_script_is_tried(told: Any) -> None:
    verbs = {line.split()[0] for line in told["codes"]}
    assert verbs == {*application.COMMANDS, "profiles"}
    tried = {name.split("/")[1] for name in told["scripts"]}
    assert {"example.py", "openvino_example.py", "bundle_example.py", "adapters_example.py"} <= tried
    others = {path.name for path in Path(examples.__file__).parent.glob("*_example.py")} - tried
    assert others <= {"aoti_example.py", "node_example.py"}  # torch, as that of the bundle; ONNX Runtime on a graph


def test_no_packet_leaves_the_machine(told: Any) -> None:
    if told["packets"] is None:
        pytest.skip("this system gives a process no network of its own")
    assert told["packets"] == 0


def test_the_home_directory_stays_empty(told: Any, home: Path) -> None:
    assert [str(path.relative_to(home)) for path in home.rglob("*")] == []
