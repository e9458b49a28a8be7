"""Which settings of a configuration count when a run grows: those about the new region."""

from __future__ import annotations

from pathlib import Path

import pytest

from lorkit.decompose.config import Config, default_config, load_config
from lorkit.decompose.errors import UsageError
from lorkit.decompose.lifecycle.settings import config_with_region, only_region, without_region
from lorkit.decompose.runs import Run


def stated(directory: Path, text: str) -> Config:
    path = directory / "wrist.yaml"
    path.write_text(text, encoding="utf-8")
    return load_config(path)


def test_a_file_with_the_new_region_alone_is_enough(small_run: Run, tmp_path: Path) -> None:
    found = config_with_region(small_run, stated(tmp_path, "regions: {wrist: {data: w.npz}}"), "wrist")
    origin = small_run.config
    assert list(found.regions) == ["chest", "knee", "wrist"]
    assert found.regions["wrist"].data == (str(tmp_path / "w.npz"),)
    assert (found.image, found.train, found.student, found.lorkd) == (
        origin.image,
        origin.train,
        origin.student,
        origin.lorkd,
    )
    assert found.foundation.regions == ("chest", "knee")


def test_what_it_states_about_the_training_counts(small_run: Run, tmp_path: Path) -> None:
    text = (
        "seed: 3\nregions: {wrist: {data: w.npz}, chest: {data: other.npz}}\ntrain: {epochs: 9}\n"
        "lorkd: {ranks: {wrist: 2}, feature_kd: {weight: 0}}\nimage: {size: 16, channels: 1}\n"
    )
    found = config_with_region(small_run, stated(tmp_path, text), "wrist")
    assert (found.seed, found.train.epochs, found.train.batch_size) == (3, 9, small_run.config.train.batch_size)
    assert (found.lorkd.ranks, found.lorkd.rank, found.lorkd.feature_kd.weight) == ({"wrist": 2}, 8, 0)
    assert found.regions["chest"] == small_run.config.regions["chest"]  # the run's, whatever is said elsewhere


@pytest.mark.parametrize(
    "line",
    ["image: {size: 32, channels: 1}", "lorkd: {alpha: 4}", "foundation: {weights: w.pth}", "method: mtl"],
)
def test_what_the_regions_share_cannot_be_stated_otherwise(small_run: Run, tmp_path: Path, line: str) -> None:
    with pytest.raises(UsageError, match="leave"):
        config_with_region(small_run, stated(tmp_path, f"regions: {{wrist: {{data: w.npz}}}}\n{line}\n"), "wrist")


@pytest.mark.parametrize("section", ["lorkd", "mola"])
def test_one_region_and_all_but_one(small_run: Run, section: str) -> None:
    experts = getattr(small_run.config, section).model_copy(update={"ranks": {"chest": 2, "knee": 3}})
    config = small_run.config.model_copy(update={section: experts})
    one, rest = only_region(config, "chest"), without_region(config, "chest")
    assert (list(one.regions), getattr(one, section).ranks) == (["chest"], {"chest": 2})
    assert (list(rest.regions), getattr(rest, section).ranks) == (["knee"], {"knee": 3})


def test_the_width_of_a_removed_region_goes_with_it() -> None:
    config = default_config(overrides=["method=rd", "rd.hidden={chest: 8, brain: 16}"])
    assert without_region(config, "chest").rd.hidden == {"brain": 16}
    assert only_region(config, "chest").rd.hidden == {"chest": 8}
