"""An artifact that another command replaces or changes while one measures it: no measurement names another's digest."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from resealing import edit_json, reseal

from lorkit.decompose.errors import ArtifactError, BusyError
from lorkit.decompose.runs import Run
from lorkit.export.benchmarking import benchmark
from lorkit.export.gating.gating import gate
from lorkit.export.runtime import engine


def replace(directory: Path) -> None:
    """Exchange an export for another whole one, as `export --force` does."""
    old = directory.with_name(f".{directory.name}.old")
    shutil.move(directory, old)
    shutil.copytree(old, directory)
    edit_json(directory / "export.json", lambda info: info.update(warnings=["another"]))
    reseal(directory)
    shutil.rmtree(old)


def change(directory: Path) -> None:
    """Change a byte of an export's network."""
    data = bytearray((directory / "model.onnx").read_bytes())
    data[len(data) // 2] ^= 1
    (directory / "model.onnx").write_bytes(data)


COMMANDS: Mapping[str, Callable[[Run, Path], Any]] = {
    "bench": lambda run, path: benchmark.bench([path], samples=2, max_seconds=0.1),
    "bench against": lambda run, path: benchmark.bench([other(run, path)], against=path, samples=2, max_seconds=0.1),
    "gate": lambda run, path: gate(run.path, region="chest", max_seconds=0.2),
    "gate baseline": lambda run, path: gate(run.path, candidate=other(run, path), baseline=path, max_seconds=0.2),
}


def other(run: Run, path: Path) -> Path:
    (found,) = (run.exports_dir / "student" / "chest").iterdir()
    return found


@pytest.mark.parametrize("when", ["before it is loaded", "after it was loaded"])
@pytest.mark.parametrize("how", [replace, change])
@pytest.mark.parametrize("command", COMMANDS)
def test_it_is_refused(
    a_run: Run, monkeypatch: pytest.MonkeyPatch, command: str, how: Callable[[Path], None], when: str
) -> None:
    (path,) = (a_run.exports_dir / "chest").iterdir()
    load, done = engine.load_engine, []

    def meanwhile(directory: Path, **options: Any) -> Any:
        mine = Path(directory) == path and not done
        if mine and when.startswith("before"):
            done.append(how(path))
        found = load(directory, **options)
        if mine and when.startswith("after"):
            done.append(how(path))
        return found

    monkeypatch.setattr(engine, "load_engine", meanwhile)
    with pytest.raises(BusyError if how is replace else ArtifactError, match=r"replaced while|has changed since"):
        COMMANDS[command](a_run, path)
    assert done
    assert not list(a_run.measurements_dir.glob("gate.json"))
    assert not list(a_run.measurements_dir.glob("bench.json"))
