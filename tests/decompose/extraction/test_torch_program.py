from __future__ import annotations

import zipfile
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from lorkit.decompose.errors import ParityError
from lorkit.decompose.extraction import torch_program
from lorkit.decompose.models.deployable import Deployable


@pytest.fixture
def network() -> Deployable:
    torch.manual_seed(0)
    plain = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2))
    return Deployable(plain, mean=[0.5], std=[0.25]).eval()


def test_any_batch_size_gives_what_the_network_gives(network: Deployable, tmp_path: Path) -> None:
    torch_program.write_program(network, tmp_path / "model.pt2", shape=(1, 8, 8))
    again = torch.export.load(tmp_path / "model.pt2").module()
    for count in (1, 2, 5):
        image = torch.rand(count, 1, 8, 8)
        torch.testing.assert_close(again(image), network(image))


def test_the_file_says_nothing_of_the_machine_that_wrote_it(network: Deployable, tmp_path: Path) -> None:
    torch_program.write_program(network, tmp_path / "model.pt2", shape=(1, 8, 8))
    with zipfile.ZipFile(tmp_path / "model.pt2") as archive:
        everything = b"".join(archive.read(name) for name in archive.namelist())
    assert b".py" not in everything
    assert str(tmp_path).encode() not in everything


def test_a_program_that_computes_something_else_is_refused(
    network: Deployable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded = SimpleNamespace(module=lambda: lambda image: network(image) + 1)
    monkeypatch.setattr(torch.export, "load", lambda path: loaded)
    with pytest.raises(ParityError, match="differs from its network by 1"):
        torch_program.write_program(network, tmp_path / "model.pt2", shape=(1, 8, 8))
