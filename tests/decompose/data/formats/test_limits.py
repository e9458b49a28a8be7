from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from lorkit.decompose.data.formats import limits, nifti, npz
from lorkit.decompose.errors import DataError
from lorkit.decompose.machine import available_bytes


def test_what_is_free_is_what_the_machine_says() -> None:
    free = limits.free_bytes()
    assert free is not None
    assert abs(free - available_bytes()) < 2**30


def test_a_file_that_declares_more_than_is_free_is_refused_with_both_numbers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    np.savez(tmp_path / "a.npz", images=np.zeros((4, 64, 64)))
    assert set(npz.load_arrays(tmp_path / "a.npz")) == {"images"}
    monkeypatch.setattr(limits, "free_bytes", lambda: 100_000)
    with pytest.raises(DataError, match=r"a\.npz declares 0\.000122 GiB for its arrays; .* the 9\.31e-05"):
        npz.load_arrays(tmp_path / "a.npz")


def test_a_volume_is_refused_before_its_voxels_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import nibabel as nib

    nib.save(nib.Nifti1Image(np.zeros((40, 40, 40), np.int16), np.eye(4)), tmp_path / "a.nii.gz")
    asked: list[int] = []
    whole = nifti._bytes
    monkeypatch.setattr(nifti, "_bytes", lambda path, most, **how: asked.append(most) or whole(path, most, **how))
    monkeypatch.setattr(limits, "free_bytes", lambda: 100_000)
    with pytest.raises(DataError, match=r"a\.nii\.gz declares .* GiB for its voxels"):
        nifti.read(tmp_path / "a.nii.gz")
    assert asked == [1024]


def test_without_a_statement_of_the_system_all_of_its_memory_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "_MEMORY", Path("/no/such/file"))
    whole, free = limits.free_bytes(), available_bytes()
    assert whole is not None
    assert whole >= free
    monkeypatch.setattr(limits, "_whole", lambda: None)
    assert limits.free_bytes() is None
    limits.check_fits("a", 2**60)


def test_a_control_group_has_less(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "memory.max").write_text("1000\n")
    (tmp_path / "memory.current").write_text("400\n")
    monkeypatch.setattr(limits, "_GROUP", tmp_path)
    assert limits.free_bytes() == 600
    (tmp_path / "memory.max").write_text("max\n")
    assert (limits.free_bytes() or 0) > 1000
