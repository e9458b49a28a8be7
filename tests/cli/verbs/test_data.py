"""`data` on phantom regions: nothing is replaced, since drawing two of them is quick."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any


def test_data_on_phantoms(decompose: Callable[..., Any], tmp_path: Path) -> None:
    (tmp_path / "decompose.yaml").write_text(
        "image: {size: 16, channels: 1}\nregions: {chest: {data: phantom:chest}}\n"
    )
    outcome = decompose("data", "--sheet", "sheet.png", "--json")
    assert outcome.code == 0, outcome.stderr
    assert outcome.document["regions"]["chest"]["n"] > 0
    assert (tmp_path / "sheet.png").read_bytes().startswith(b"\x89PNG")
    assert "SYNTHETIC" in outcome.stderr
