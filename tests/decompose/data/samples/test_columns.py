from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lorkit.decompose.config import RegionConfig
from lorkit.decompose.data.readers.registry import read_region
from lorkit.decompose.data.samples.columns import join_columns, subgroups, take_columns
from lorkit.decompose.errors import UsageError


def test_the_values_of_a_column_are_subgroups() -> None:
    columns = {"sex": ("f", "m", "f", " ")}
    assert subgroups(columns, "sex", "a.csv") == {"(empty)": [3], "f": [0, 2], "m": [1]}
    with pytest.raises(UsageError, match="age: no such column in a"):
        subgroups(columns, "age", "a.csv")
    with pytest.raises(UsageError, match="into ranges"):
        subgroups({"age": tuple(str(age) for age in range(30))}, "age", "a.csv")


def test_columns_are_joined_and_taken_with_their_samples() -> None:
    joined = join_columns([({"sex": ("f", "m")}, 2), ({"site": ("north",)}, 1)])
    assert joined == {"sex": ("f", "m", ""), "site": ("", "", "north")}
    assert take_columns(joined, [2, 0]) == {"sex": ("", "f"), "site": ("north", "")}


def test_readers_keep_what_else_a_file_says(tmp_path: Path) -> None:
    pixels = np.arange(3 * 64, dtype=np.uint8).reshape(3, 8, 8)
    np.savez(
        tmp_path / "a.npz", images=pixels, labels=np.array([0, 1, 0]), age=np.array([4, 5, 6]), pixel_mm=np.ones(2)
    )
    rows = ["path,label,group,Sex"]
    for index, image in enumerate(pixels):
        Image.fromarray(255 - image).save(tmp_path / f"{index}.png")
        rows.append(f"{index}.png,{index % 2},p{index},{'fm'[index % 2]}")
    (tmp_path / "b.csv").write_text("\n".join(rows))
    config = RegionConfig(data=(str(tmp_path / "a.npz"), str(tmp_path / "b.csv")))
    samples = read_region("chest", config, base=tmp_path)
    assert samples.columns == {"age": ("4", "5", "6", "", "", ""), "sex": ("", "", "", "f", "m", "f")}
