"""Run the scripts that lorkit writes in an interpreter that has not all packages."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

ALONE = """
import json, runpy, sys
blocked, script, calls = json.loads(sys.argv[1])
sys.modules.update(dict.fromkeys(blocked))
sys.path.insert(0, script.rpartition("/")[0])
for words in calls:
    sys.argv[:] = [script, *words]
    runpy.run_path(script, run_name="__main__")
"""


def alone(script: Path, *arguments: str, without: tuple[str, ...]) -> dict[str, Any]:
    """Run a script where some packages cannot be imported."""
    (found,) = each_alone(script, arguments, without=without)
    return found


def each_alone(script: Path, *calls: Sequence[str], without: tuple[str, ...]) -> list[dict[str, Any]]:
    """Run a script once for each list of arguments, in one process that imports what it needs once."""
    asked = json.dumps([without, str(script), calls])
    command = [sys.executable, "-c", ALONE, asked]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]
