from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from lorkit.decompose.errors import ArtifactError, DataError, MissingRuntimeError
from lorkit.export.runtime.engine import load_engine


@pytest.fixture
def engine_dir(make_export: Callable[..., Path]) -> Path:
    return make_export("export")


def images(count: int = 2, channels: int = 1, side: int = 16) -> np.ndarray:
    return np.random.default_rng(0).random((count, channels, side, side), dtype=np.float32)


def test_it_runs_any_batch_in_rows(engine_dir: Path) -> None:
    with load_engine(engine_dir, threads=1) as engine:
        assert engine.provider == "CPUExecutionProvider"
        assert engine.exported.shape == (1, 16, 16)
        whole = engine.run(images(5))
        assert whole.shape == (5, 2)
        rows = np.concatenate([engine.run(image[None]) for image in images(5)])
    np.testing.assert_allclose(rows, whole, atol=1e-5)


def test_a_strided_batch_gives_the_same(engine_dir: Path) -> None:
    with load_engine(engine_dir) as engine:
        batch = images(6)[::2]
        np.testing.assert_array_equal(engine.run(batch), engine.run(batch.copy()))


@pytest.mark.parametrize(
    ("batch", "message"),
    [
        (images(channels=3), r"with shape \(2, 3, 16, 16\).*prepare the images with 1 channel"),
        (images(side=15), r"required: float32 of shape \(N, 1, 16, 16\).*the export's recipe"),
        (images()[0], r"add a leading axis"),
        (images().astype(np.float64), r"batch of float64"),
        (images(0), r"N >= 1"),
        (np.full((1, 1, 16, 16), np.nan, np.float32), r"NaN or infinite"),
        (np.full((1, 1, 16, 16), np.inf, np.float32), r"NaN or infinite"),
    ],
)
def test_what_it_cannot_take_is_one_clear_line(engine_dir: Path, batch: np.ndarray, message: str) -> None:
    with load_engine(engine_dir) as engine, pytest.raises(DataError, match=message) as caught:
        engine.run(batch)
    assert "\n" not in str(caught.value)


def test_a_tampered_file_is_refused(engine_dir: Path) -> None:
    content = (engine_dir / "model.onnx").read_bytes()
    (engine_dir / "model.onnx").write_bytes(content[:-1] + b"x")
    with pytest.raises(ArtifactError, match=r"model\.onnx has changed"):
        load_engine(engine_dir)


def test_what_is_no_export_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match=r"has no manifest\.json"):
        load_engine(tmp_path)


def test_another_provider_than_recorded_is_never_taken(workshop: object, tmp_path: Path) -> None:
    from lorkit.decompose.artifacts import read_json, write_json, write_manifest

    directory = workshop.write_export(tmp_path / "gpu", owner="expert", region="chest")  # type: ignore[attr-defined]
    info = read_json(directory / "export.json")
    write_json(directory / "export.json", info | {"provider": "CUDAExecutionProvider"})
    write_manifest(directory, "export", synthetic=True)
    with pytest.raises(MissingRuntimeError, match=r"CPUExecutionProvider would run.*CUDAExecutionProvider"):
        load_engine(directory)


def test_a_copy_runs_without_torch(engine_dir: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(engine_dir, tmp_path / "copy")
    script = (
        "import sys; sys.modules['torch'] = None\n"
        "import numpy as np\n"
        "from lorkit.export import load_engine\n"
        f"print(load_engine({str(copy)!r}).run(np.zeros((1, 1, 16, 16), np.float32)).shape)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "(1, 2)"


def test_a_closed_engine_says_so(engine_dir: Path) -> None:
    engine = load_engine(engine_dir)
    engine.close()
    with pytest.raises(ArtifactError, match="closed"):
        engine.run(images())
