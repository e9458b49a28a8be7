"""What `init` writes: names from foreign files stay inside their lines."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from lorkit.cli.output.drafts import Drafts
from lorkit.decompose import load_config


def test_hostile_names_stay_inside_comments(tmp_path: Path) -> None:
    data = tmp_path / "d\nmethod: evil"
    for number in range(16):
        path = data / ("a: [#", "b\x07 }")[number % 2] / f"P{number // 2}_{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.random.default_rng(number).integers(0, 255, (8, 8), np.uint8)).save(path)
    (text,) = Drafts.of(data).texts(tmp_path / "x.yaml").values()
    (tmp_path / "x.yaml").write_text(text, encoding="utf-8")
    config = load_config(tmp_path / "x.yaml")
    (region,) = config.regions.values()
    assert (config.method, region.data, region.groups) == ("stl", (str(data),), r"^(P\d+)")


def test_the_median_size_has_whole_pixels_as_in_the_file(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for number in range(16):
        path = tmp_path / "scans" / "ab"[number % 2] / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 255, (20 + number % 4 // 2, 20), np.uint8)).save(path)
    drafts = Drafts.of(tmp_path / "scans")
    (text,) = drafts.texts(tmp_path / "x.yaml").values()
    assert "16 images of 20 x 20," in text
    assert "20.5" not in text
