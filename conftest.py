"""Make `lorkit` importable from a checkout that is not installed; keep tests on one thread, and what is compiled."""

from __future__ import annotations

import gc
import importlib
import importlib.util
import os
import sys
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
# Containers often forbid compiled files. Each worker would then compile all tests again, each process of a test lorkit.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False
# Imports and the collection make a million objects, and none is garbage; `tests/conftest.py` enables it for the tests.
gc.disable()

ROOT = str(Path(__file__).parent)
if importlib.util.find_spec("lorkit") is None:
    sys.path.insert(0, ROOT)
if importlib.util.find_spec("lorkit.decompose") is None:
    importlib.import_module("lorkit").__path__.append(ROOT)
