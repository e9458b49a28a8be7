"""Make `lorkit` importable from a checkout that is not installed, and keep tests on one thread."""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

ROOT = str(Path(__file__).parent)
if importlib.util.find_spec("lorkit") is None:
    sys.path.insert(0, ROOT)
if importlib.util.find_spec("lorkit.decompose") is None:
    importlib.import_module("lorkit").__path__.append(ROOT)
