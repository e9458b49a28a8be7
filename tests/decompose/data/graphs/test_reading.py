"""A file is read by its content, not by its name."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy.io import savemat

from lorkit.decompose.config import GraphSource, RegionConfig
from lorkit.decompose.data.graphs.reading import kind_of, read_graph
from lorkit.decompose.errors import DataError, UsageError


@pytest.fixture
def npz_path(tmp_path: Path) -> Path:
    path = tmp_path / "g.npz"
    np.savez(path, features=np.ones((3, 1)), labels=np.array([0, 1, 1]), edge_a=np.array([[0], [1]]))
    return path


def test_formats_by_content(tmp_path: Path, npz_path: Path) -> None:
    renamed = npz_path.rename(tmp_path / "g.data")
    assert kind_of(renamed) == "npz"
    assert list(read_graph([renamed], GraphSource()).relations) == ["a"]
    savemat(tmp_path / "m.mat", {"net_a": np.eye(3)[::-1], "features": np.ones((3, 1)), "label": np.array([[0, 1, 1]])})
    renamed = (tmp_path / "m.mat").rename(tmp_path / "m.bin")
    assert kind_of(renamed) == "mat"
    assert len(read_graph([renamed], RegionConfig(data=str(renamed)))) == 3
    (tmp_path / "t.csv").write_text("card,label\n1,0\n")
    assert kind_of(tmp_path / "t.csv") == "table"


def test_damaged_files_go_to_the_reader_of_their_name(tmp_path: Path) -> None:
    for name in ("a.npz", "a.mat"):
        (tmp_path / name).write_bytes(b"")
        with pytest.raises(DataError, match=f"{name} cannot be read"):
            read_graph([tmp_path / name], GraphSource())


def test_several_graphs_and_missing_files_are_refused(tmp_path: Path, npz_path: Path) -> None:
    with pytest.raises(UsageError, match="as one graph"):
        read_graph([npz_path, npz_path], GraphSource())
    with pytest.raises(UsageError, match="as one graph in stated parts"):
        read_graph([npz_path], GraphSource(), parts=["train"])
    with pytest.raises(UsageError, match="no file as one graph"):
        read_graph([], GraphSource())
    for path in (tmp_path / "none.npz", tmp_path):
        with pytest.raises(DataError, match=r"cannot be read|no file at"):
            read_graph([path], GraphSource())
