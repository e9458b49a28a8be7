"""Fixtures for every room: one torch thread, and the real data when it is at hand."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch

torch.set_num_threads(1)


@pytest.fixture(scope="session")
def data_root() -> Path:
    """Root of the real data sets; a test that asks for it skips where they are absent."""
    root = Path(os.environ.get("LORKIT_DATA", Path(__file__).parent.parent.parent / "shared" / "data"))
    if not (root / "medical").is_dir():
        pytest.skip(f"no real data at {root}: set LORKIT_DATA")
    return root
