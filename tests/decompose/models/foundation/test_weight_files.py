from __future__ import annotations

import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from lorkit.decompose.artifacts import weights
from lorkit.decompose.errors import ArtifactError
from lorkit.decompose.models.foundation.weight_files import read_tensors, shape_text


def save(path: Path, **values: object) -> Path:
    torch.save(values, path)
    return path


def test_plain_tensors_are_read_also_views_and_shared_ones(tmp_path: Path) -> None:
    whole = torch.arange(12.0).reshape(3, 4)
    path = save(tmp_path / "w.pth", model={"a": whole, "b": whole.T, "c": whole[1:], "d": torch.tensor(1.0)})
    found, container = read_tensors(path, "foundation")
    assert container == "model"
    assert torch.equal(found["b"], whole.T)
    assert torch.equal(found["c"], whole[1:])


ODD: dict[str, tuple[Callable[[], Tensor], str]] = {
    "sparse": (lambda: torch.ones(2, 3).to_sparse(), "sparse_coo"),
    "csr": (lambda: torch.ones(2, 3).to_sparse_csr(), "sparse_csr"),
    "meta": (lambda: torch.ones(2, 3, device="meta"), "without values"),
    "huge": (lambda: torch.ones(1).expand(2**20, 2**20), "repeated"),
    "expanded": (lambda: torch.ones(1).expand(2, 3), "repeated"),
}


@pytest.mark.filterwarnings("ignore:Sparse")
@pytest.mark.parametrize("name", ODD)
def test_tensors_that_do_not_hold_their_values_are_refused(tmp_path: Path, name: str) -> None:
    make, what = ODD[name]
    path = save(tmp_path / "w.pth", a=torch.ones(1), b=make())
    with pytest.raises(ArtifactError, match=rf"w\.pth: 'b' of shape {shape_text(make())} is {what}; required: plain"):
        read_tensors(path, "foundation")


def test_compressed_storages_are_refused_unread(tmp_path: Path) -> None:
    source = save(tmp_path / "small.pth", a=torch.zeros(1000))
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(tmp_path / "w.pth", "w", zipfile.ZIP_DEFLATED) as new:
        for entry in old.infolist():
            new.writestr(entry.filename, old.read(entry))
    with pytest.raises(ArtifactError, match="is compressed, which torch never does"):
        read_tensors(tmp_path / "w.pth", "student")


def test_more_than_memory_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = save(tmp_path / "w.pth", a=torch.zeros(100_000))
    monkeypatch.setattr(weights, "available_bytes", lambda: 1000)
    monkeypatch.setattr(weights, "_SMALL_BYTES", 0)
    with pytest.raises(ArtifactError, match=r"w\.pth has .* GiB; required: at most"):
        read_tensors(path, "student")


def test_a_dictionary_that_holds_itself_ends(tmp_path: Path) -> None:
    document: dict[str, object] = {}
    document["model"] = document
    torch.save(document, tmp_path / "w.pth")
    with pytest.raises(ArtifactError, match="no dictionary of tensors"):
        read_tensors(tmp_path / "w.pth", "student")


def test_shapes_as_text() -> None:
    assert (shape_text(torch.zeros(2, 3)), shape_text(torch.tensor(1))) == ("2x3", "a scalar")
