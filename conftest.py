"""Make `lorkit` importable from a checkout that is not installed, and keep tests on one thread."""

from __future__ import annotations

import importlib.util
import os
import sys
import types
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

if importlib.util.find_spec("lorkit") is None:
    lorkit = types.ModuleType("lorkit")
    lorkit.__path__ = [str(Path(__file__).parent)]
    sys.modules["lorkit"] = lorkit
