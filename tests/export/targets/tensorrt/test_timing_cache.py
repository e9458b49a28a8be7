from __future__ import annotations

from pathlib import Path

from lorkit.export.targets.tensorrt.timing_cache import read_timings, timing_path, write_timings


def test_what_is_written_is_read_and_damage_counts_as_nothing(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "a.timing"
    assert read_timings(path) == b""
    write_timings(path, b"kernels")
    assert read_timings(path) == b"kernels"
    for damaged in (b"", b"short", path.read_bytes()[:-1], path.read_bytes() + b"x"):
        path.write_bytes(damaged)
        assert read_timings(path) == b""


def test_a_place_that_cannot_be_written_is_no_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    write_timings(tmp_path / "file" / "a.timing", b"kernels")
    assert read_timings(tmp_path / "file" / "a.timing") == b""


def test_each_gpu_driver_and_version_has_its_own_file() -> None:
    here = {"tensorrt": "10.12.0", "gpu": "NVIDIA H200", "sm": "9.0", "driver": "580.1"}
    paths = {timing_path(here | {name: "other/one"}) for name in here} | {timing_path(here)}
    assert len(paths) == 5
    assert {path.parent.name for path in paths} == {"timings"}
