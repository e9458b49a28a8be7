from pathlib import Path

import pytest

from lorkit.decompose.artifacts import write_manifest
from lorkit.decompose.errors import ArtifactError
from lorkit.decompose.runs import list_runs, listing, open_run


def make_run(path: Path) -> None:
    path.mkdir(parents=True)
    (path / "metrics.jsonl").write_text("{}\n")
    write_manifest(path, "run", synthetic=True)


def test_runs_come_newest_first_and_damaged_ones_do_not_count(tmp_path: Path) -> None:
    assert list_runs(tmp_path / "missing") == []
    for name in ("b", "a", "damaged", ".hidden"):
        make_run(tmp_path / name)
    (tmp_path / "damaged" / "manifest.json").write_text("{")
    (tmp_path / "file").touch()
    assert [path.name for path in list_runs(tmp_path)] == ["a", "b"]


def test_damaged_runs_alone_are_not_no_run(tmp_path: Path) -> None:
    make_run(tmp_path / "damaged")
    (tmp_path / "damaged" / "manifest.json").write_text("{")
    with pytest.raises(ArtifactError, match=r"damaged/manifest\.json is not JSON"):
        open_run(None, tmp_path)
    make_run(tmp_path / "intact")
    assert open_run(None, tmp_path).id == "intact"


def test_a_directory_that_cannot_be_read_is_not_an_empty_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As root may read everything, the refusal of the system is put in its place."""
    known = listing.is_artifact

    def refusing(path: Path) -> bool:
        if path.name == "theirs":
            raise PermissionError(13, "Permission denied", str(path))
        return known(path)

    make_run(tmp_path / "theirs")
    monkeypatch.setattr(listing, "is_artifact", refusing)
    with pytest.raises(PermissionError, match="theirs"):
        open_run(None, tmp_path)
    make_run(tmp_path / "mine")
    assert open_run(None, tmp_path).id == "mine"
    (tmp_path / "file").touch()
    with pytest.raises(NotADirectoryError):
        list_runs(tmp_path / "file")
