"""Fixtures for every room: one torch thread, and the real data when it is at hand."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch

torch.set_num_threads(1)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the modules that hold a whole pipeline, so that no process ends alone with one of them."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)


@pytest.fixture(scope="session")
def data_root() -> Path:
    """Root of the real data sets; a test that asks for it skips where they are absent."""
    root = Path(os.environ.get("LORKIT_DATA", Path(__file__).parent.parent.parent / "shared" / "data"))
    if not (root / "medical").is_dir():
        pytest.skip(f"no real data at {root}: set LORKIT_DATA")
    return root
