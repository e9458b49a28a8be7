"""A case of a report is found by the start of its digest: its file, its patient, and its part of the split."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lorkit.decompose.artifacts.keys import KEY_FILE, DirectoryKey
from lorkit.decompose.config import Config, load_config
from lorkit.decompose.data import read_regions, split_regions
from lorkit.decompose.data.finding import find
from lorkit.decompose.data.keyed_digests import keyed_digests
from lorkit.decompose.errors import DataError, UsageError


@pytest.fixture
def config(tmp_path: Path) -> Config:
    rng = np.random.default_rng(0)
    for label in ("clear", "nodule"):
        (tmp_path / "chest" / label).mkdir(parents=True)
        for index in range(12):
            pixels = rng.integers(0, 255, (8, 8), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / "chest" / label / f"P{label[0]}{index}_a.png")
    rng.integers(0, 255, (8, 8), dtype=np.uint8)
    (tmp_path / "rest").mkdir()
    Image.fromarray(rng.integers(0, 255, (8, 8), dtype=np.uint8)).save(tmp_path / "rest" / "Pu_a.png")
    (tmp_path / "decompose.yaml").write_text(
        "image: {size: 8, channels: 1}\nregions: {chest: {data: chest, groups: '^(P.*)_', unlabelled: rest}}\n"
    )
    return load_config(tmp_path / "decompose.yaml")


def test_every_case_of_the_test_part_is_found(config: Config, tmp_path: Path) -> None:
    samples = read_regions(config)
    test = split_regions(samples, config.split, seed=config.seed).parts("chest")["test"].tolist()
    digests = keyed_digests(samples["chest"].digests, DirectoryKey(tmp_path / "runs", create=True))
    for index in test:
        (case,) = find(config, digests[index][:12], runs=tmp_path / "runs").found
        assert (case.part, case.digest) == ("test", digests[index])
        assert Path(case.name).name.startswith(f"{case.group}_")
        assert case.target == ("clear" if Path(case.name).name[1] == "c" else "nodule")
        pixels = np.asarray(Image.open(Path(case.source) / case.name))
        assert np.array_equal(pixels, samples["chest"].images[index])


def test_an_image_without_a_label_is_found(config: Config, tmp_path: Path) -> None:
    from lorkit.decompose.data.readers.unlabelled import read_unlabelled

    samples = read_regions(config)
    others = read_unlabelled(samples["chest"], config.regions["chest"], base=config.base)
    (digest,) = keyed_digests(others.digests, DirectoryKey(tmp_path / "runs", create=True))
    (case,) = find(config, digest, runs=tmp_path / "runs").found
    assert (case.part, case.target, Path(case.name).name) == ("unlabelled", "", "Pu_a.png")


@pytest.mark.parametrize("given", ["", "abc", "0123456789xyz", "a" * 65])
def test_what_is_no_digest_is_refused(config: Config, given: str) -> None:
    with pytest.raises(UsageError, match="hexadecimal digits"):
        find(config, given)


def test_a_case_of_other_data_is_not_found(config: Config, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=rf"without {KEY_FILE}"):
        find(config, "0" * 64, runs=tmp_path)
    assert DirectoryKey(tmp_path, create=True).name
    with pytest.raises(DataError, match="no sample of chest"):
        find(config, "0" * 64, runs=tmp_path)
    with pytest.raises(DataError, match="no sample of chest"):  # nobody finds a plain digest in an artifact
        find(config, read_regions(config)["chest"].digests[0], runs=tmp_path)
