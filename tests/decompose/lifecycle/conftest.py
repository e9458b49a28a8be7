"""A third region's data beside the small run, and the run that has it."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from lorkit.decompose.lifecycle import train_from
from lorkit.decompose.runs import Run, open_run

CLASSES = ("low", "high")


def write_region(path: Path, *, classes: tuple[str, ...] = CLASSES, count: int = 48) -> Path:
    """Write gray images whose brightness tells the class, one a patient."""
    rng = np.random.default_rng(7)
    labels = np.arange(count) % len(classes)
    images = np.clip(50 + 90 * labels[:, None, None] + rng.normal(0, 15, (count, 20, 20)), 0, 255).astype(np.uint8)
    groups = np.array([f"w{index}" for index in range(count)])
    np.savez(path, images=images, labels=labels, label_names=np.array(classes), groups=groups)
    return path


@pytest.fixture(scope="session")
def wrist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Data of a region that no run knows."""
    return write_region(tmp_path_factory.mktemp("wrist-data") / "wrist.npz")


@pytest.fixture(scope="session")
def grown_home(made_run: Path, wrist: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The small run, and the run with region `wrist` made from it; tests only read them."""
    runs = Path(shutil.copytree(made_run / "runs", tmp_path_factory.mktemp("grown") / "runs"))
    result = train_from(
        runs / "small", overrides=[f"regions.wrist.data={wrist}", "train.epochs=2"], add_region="wrist", out=runs
    )
    return runs / "small", result.run


@pytest.fixture
def grown(grown_home: tuple[Path, Path]) -> tuple[Run, Run]:
    """The old run and the new one."""
    return open_run(grown_home[0]), open_run(grown_home[1])
