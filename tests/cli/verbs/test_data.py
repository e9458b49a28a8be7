"""`data` on phantom regions of few patients: nothing else is replaced."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lorkit.decompose import load_config
from lorkit.decompose.artifacts.keys import DirectoryKey
from lorkit.decompose.data import read_regions
from lorkit.decompose.data.keyed_digests import keyed_digests
from lorkit.decompose.data.phantoms import reader as phantom


@pytest.fixture(autouse=True)
def few_patients(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(phantom, "PATIENTS", {"train": 12, "val": 12, "test": 12})


def test_data_on_phantoms(decompose: Callable[..., Any], tmp_path: Path) -> None:
    (tmp_path / "decompose.yaml").write_text(
        "image: {size: 16, channels: 1}\nregions: {chest: {data: phantom:chest}}\n"
    )
    outcome = decompose("data", "--sheet", "sheet.png", "--json")
    assert outcome.code == 0, outcome.stderr
    assert outcome.document["regions"]["chest"]["n"] > 0
    assert (tmp_path / "sheet.png").read_bytes().startswith(b"\x89PNG")
    assert "SYNTHETIC" in outcome.stderr


def test_a_case_is_found(decompose: Callable[..., Any], tmp_path: Path) -> None:
    (tmp_path / "decompose.yaml").write_text(
        "image: {size: 16, channels: 1}\nregions: {chest: {data: phantom:chest}}\n"
    )
    plain = read_regions(load_config(tmp_path / "decompose.yaml"))["chest"].digests
    (digest,) = keyed_digests(plain[:1], DirectoryKey(tmp_path / "runs", create=True))
    outcome = decompose("data", "--find", digest[:12])
    assert (outcome.code, outcome.stdout.split("\t")[0]) == (0, digest[:12]), outcome.stderr
    assert decompose("data", "--find", digest, "--json").document["found"][0]["region"] == "chest"
    assert decompose("data", "--find", digest, "--sheet", "x.png").code == 2
    assert decompose("data", "--find", "0" * 64).code == 4
