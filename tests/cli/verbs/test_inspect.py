"""`decompose inspect`: one block per image, one document, and an exit code for what cannot be read."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lorkit.cli.main import run_command_line


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    Image.fromarray(np.arange(12, dtype=np.uint8).reshape(3, 4)).save(tmp_path / "a.png")
    return tmp_path


def test_an_image_is_described_in_lines(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command_line(["inspect", str(folder / "a.png")]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == str(folder / "a.png")
    assert lines[1].startswith("  PNG 3 x 4, 0 to 11, mean 5.5, spacing not stated, axes not stated, sha256 ")


def test_json_has_the_keys_that_programs_rely_on(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "b.png").write_text("no image", encoding="utf-8")
    assert run_command_line(["inspect", str(folder), "--json"]) == 4
    found = capsys.readouterr()
    document = json.loads(found.out)
    assert (document["schema_version"], document["kind"], document["warnings"]) == (1, "inspect", [])
    (file,) = document["files"]
    assert list(file) == ["path", "format", "shape", "min_value", "max_value", "mean_value", "sha256", "spacing_mm",
                          "axes", "inverted", "group", "notes"]  # fmt: skip
    errors = [line for line in found.err.splitlines() if line.startswith("error:")]
    assert len(errors) == 1
    assert "b.png cannot be decoded" in errors[0]
