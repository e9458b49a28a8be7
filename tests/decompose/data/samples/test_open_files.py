"""An image in several regions is decoded, drawn and prepared once, and stays in one part of the split."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import nibabel
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from lorkit.decompose.config import Config, load_config
from lorkit.decompose.data import prepared, read_regions, split_regions
from lorkit.decompose.data.phantoms import reader as phantom
from lorkit.decompose.data.readers import image_files
from lorkit.decompose.training.training_data import prepare_parts

HEAD = "split: {val: 0.25, test: 0.25}\nfoundation: {backbone: unet}\nstudent: {backbone: unet}\n"


def configured(root: Path, size: str, regions: str) -> Config:
    path = root / "decompose.yaml"
    path.write_text(f"image: {{size: {size}, channels: 1}}\n{HEAD}regions:\n{regions}", encoding="utf-8")
    return load_config(path)


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> dict[str, Counter[str]]:
    """How often each file was decoded, and how many images were prepared."""
    seen: dict[str, Counter[str]] = {"decoded": Counter(), "prepared": Counter()}
    open_image, apply_recipe = image_files.open_image, prepared.apply_recipe

    def decode(path: Path) -> object:
        seen["decoded"][path.name] += 1
        return open_image(path)

    def apply(*arguments: object) -> object:
        seen["prepared"]["images"] += 1
        return apply_recipe(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(image_files, "open_image", decode)
    monkeypatch.setattr(prepared, "apply_recipe", apply)
    return seen


def test_volumes_with_masks_and_a_grade_are_read_and_prepared_once(
    tmp_path: Path, counted: dict[str, Counter[str]]
) -> None:
    rng = np.random.default_rng(0)
    rows = ["path,label"]
    for case in range(12):
        image = rng.integers(1, 200, (9, 8, 10)).astype(np.int16)
        for folder, values in (("images", image), ("labels", (image > 100).astype(np.uint8))):
            (tmp_path / "scans" / folder).mkdir(parents=True, exist_ok=True)
            nibabel.save(nibabel.Nifti1Image(values, np.eye(4)), tmp_path / "scans" / folder / f"c{case:02d}.nii.gz")
        rows.append(f"images/c{case:02d}.nii.gz,{'low' if case % 2 else 'high'}")
    (tmp_path / "grades.csv").write_text("\n".join([*rows[:1], *reversed(rows[1:])]), encoding="utf-8")
    regions = "  mask: {data: scans, intensity: percentile}\n"
    regions += "  grade: {data: [grades.csv, scans], intensity: percentile}\n"
    config = configured(tmp_path, "[8, 8, 8]", regions)
    samples = read_regions(config)
    assert set(samples["mask"].digests) == set(samples["grade"].digests)
    splits = split_regions(samples, config.split, seed=0)
    parts = prepare_parts(config, samples, splits, config.image)
    assert set(counted["decoded"].values()) == {1}
    assert len(counted["decoded"]) == 12
    assert counted["prepared"]["images"] == sum(len(part["mask"]) for part in parts.values())
    for part in parts.values():
        mask, grade = part["mask"], part["grade"]
        assert sorted(mask.digests) == sorted(grade.digests)
        places = [mask.digests.index(digest) for digest in grade.digests]
        assert np.array_equal(mask.stored[places], grade.stored)


def test_pictures_of_one_folder_are_one_array_of_both_regions(tmp_path: Path, counted: dict[str, Counter[str]]) -> None:
    rows = {name: ["path,label"] for name in ("side", "grade")}
    for number in range(24):
        Image.fromarray(np.full((8, 8), 10 * number, np.uint8)).save(tmp_path / f"{number}.png")
        rows["side"].append(f"{number}.png,{'left' if number % 2 else 'right'}")
        rows["grade"].append(f"{number}.png,{number // 2 % 2}")
    for name, lines in rows.items():
        (tmp_path / f"{name}.csv").write_text("\n".join(lines), encoding="utf-8")
    config = configured(tmp_path, "8", "".join(f"  {name}: {{data: {name}.csv}}\n" for name in rows))
    samples = read_regions(config)
    parts = prepare_parts(config, samples, split_regions(samples, config.split, seed=0), config.image)
    assert counted["decoded"] == Counter({f"{number}.png": 1 for number in range(24)})
    assert counted["prepared"]["images"] == sum(len(part["side"]) for part in parts.values())
    assert all(part["side"].stored is part["grade"].stored for part in parts.values())
    window = "  grade: {data: grade.csv, window: [0, 100]}\n"
    other = configured(tmp_path, "8", "  side: {data: side.csv}\n" + window)
    samples = read_regions(other)
    parts = prepare_parts(other, samples, split_regions(samples, other.split, seed=0), other.image)
    assert not any(np.array_equal(part["side"].stored, part["grade"].stored) for part in parts.values())


def test_arrays_of_one_file_are_read_once(tmp_path: Path, reads: Counter[str]) -> None:
    path = tmp_path / "both.npz"
    images = np.random.default_rng(0).integers(0, 255, (24, 8, 8), dtype=np.uint8)
    np.savez(path, images=images, labels=np.arange(24) % 2, masks=(images > 128).astype(np.uint8))
    counts = []
    regions = [f"  {name}: {{data: both.npz, task: {name}}}\n" for name in ("classification", "segmentation")]
    for chosen in (regions[:1], regions):
        reads.clear()
        samples = read_regions(configured(tmp_path, "8", "".join(chosen)))
        counts.append(reads[str(path)])
    # which arrays it has is asked for each region
    assert counts[1] <= 2 * counts[0] - 1
    assert samples["classification"].images is samples["segmentation"].images


def test_phantoms_of_two_regions_are_drawn_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[str] = []

    def draw(name: str, patients: NDArray[np.int64], pictures: NDArray[np.int64]) -> dict[str, NDArray[np.uint8]]:
        drawn.append(name)
        masks = np.ones((len(patients), 64, 64), dtype=np.uint8)
        masks[::2, 30:32], masks[1::2, 24:36] = 0, 0
        return {"images": masks + (patients % 250)[:, None, None].astype(np.uint8), "masks": masks}

    monkeypatch.setattr(phantom, "_draw", draw)
    names = ("knee", "knee-masks", "knee-joint")
    samples = read_regions(configured(tmp_path, "8", "".join(f"  {n}: {{data: 'phantom:{n}'}}\n" for n in names)))
    assert drawn == ["knee"]
    assert len({samples[name].digests for name in names}) == 1
