from pathlib import Path

from lorkit.decompose.artifacts import write_manifest
from lorkit.decompose.artifacts.drafts import host
from lorkit.decompose.runs.leftovers import folders_of, sweep_run


def artifact(path: Path) -> Path:
    path.mkdir(parents=True)
    write_manifest(path, "export", synthetic=False)
    return path


def test_every_directory_of_artifacts_is_swept_and_no_artifact(tmp_path: Path) -> None:
    run = tmp_path / "run"
    for part in (
        "",
        "experts/chest",
        "exports/chest/onnx-cpu-fp32",
        "exports/foundation/chest/onnx-cpu-fp32",
        "report",
    ):
        artifact(run / part)
    (run / "measurements").mkdir()
    for part in ("", "experts", "exports", "exports/chest", "exports/foundation/chest", "measurements"):
        (run / part / f".x.partial-{host()}-7").mkdir()
        (run / part / ".x.lock").touch()
    mine = run / "exports" / "chest" / "onnx-cpu-fp32" / ".x.lock"
    mine.touch()
    sweep_run(run)
    assert [path for path in run.rglob(".*")] == [mine]
    found = {path.relative_to(run).as_posix() for path in folders_of(run)}
    assert found == {".", "experts", "exports", "measurements", "exports/chest", "exports/foundation"} | {
        "exports/foundation/chest"
    }
