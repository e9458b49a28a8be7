from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from lorkit.decompose.artifacts import read_json, write_json, write_manifest
from lorkit.decompose.errors import ArtifactError, MissingRuntimeError
from lorkit.decompose.machine import peak_bytes
from lorkit.export.benchmarking.footprint import footprint, footprints


def test_a_child_process_measures_memory_and_start(make_export: Callable[..., Path]) -> None:
    small = footprint(make_export("small", work=1, width=8))
    assert set(small) == {"peak_mib", "process_mib", "load_ms", "first_ms"}
    assert 0 < small["peak_mib"] < 60
    assert small["peak_mib"] < small["process_mib"]
    assert min(small["load_ms"], small["first_ms"]) > 0
    large = footprint(make_export("large", work=2, width=8), batch=4096, threads=2)
    assert large["peak_mib"] > small["peak_mib"] + 20


def test_several_exports_are_measured_in_order(make_export: Callable[..., Path]) -> None:
    paths = [make_export("small", work=1, width=2), make_export("large", work=1, width=16)]
    small, large = footprints(paths, batch=4096)
    assert large["peak_mib"] > small["peak_mib"] + 10
    (paths[0] / "model.onnx").write_bytes(b"no")
    with pytest.raises(ArtifactError, match="has changed"):
        footprints(paths[::-1])


def test_the_peak_is_that_of_this_process() -> None:
    before = peak_bytes()
    block = np.ones(8 * 2**20)  # 64 MiB, touched
    assert peak_bytes() >= block.nbytes
    assert peak_bytes() >= before


def test_a_missing_runtime_stays_a_missing_runtime(make_export: Callable[..., Path]) -> None:
    path = make_export("a")
    write_json(path / "export.json", {**read_json(path / "export.json"), "target": "trt"})
    write_manifest(path, "export", synthetic=True)
    with pytest.raises(MissingRuntimeError):
        footprint(path)


def test_a_damaged_export_is_named(make_export: Callable[..., Path]) -> None:
    path = make_export("a")
    (path / "model.onnx").write_bytes(b"no")
    with pytest.raises(ArtifactError, match="has changed"):
        footprint(path)


@pytest.mark.parametrize("inside", [False, True])
def test_the_child_imports_nothing_from_the_current_directory_or_the_export(
    make_export: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, inside: bool
) -> None:
    export = make_export("a")
    place = export if inside else tmp_path
    for name in ("json", "numpy", "onnxruntime", "psutil", "lorkit"):
        (place / f"{name}.py").write_text("import pathlib\npathlib.Path(__file__).with_name('ran').touch()\n1 / 0\n")
    monkeypatch.chdir(place)
    if inside:
        with pytest.raises(ArtifactError, match="is not listed"):
            footprint(export)
    else:
        assert footprint(export)["load_ms"] > 0
    assert not (place / "ran").exists()
