"""Run the scripts that lorkit writes in an interpreter that has not all packages."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

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
