from __future__ import annotations

import math
import shutil
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from lorkit.decompose.artifacts import read_json
from lorkit.decompose.artifacts.keys import DirectoryKey
from lorkit.decompose.config import ImageConfig
from lorkit.decompose.data.keyed_digests import keyed_digests
from lorkit.decompose.data.preprocessing.recipe import apply_recipe, build_recipe
from lorkit.decompose.errors import DataError, UsageError
from lorkit.decompose.runs import Run, locked_data, open_run
from lorkit.decompose.runs.locked_data import RunSplits, check_part, locked_splits, prepare_file
from lorkit.decompose.runs.recipes import recipe_of_region

PREPARING = "lorkit.decompose.data.prepared"


def test_parts_are_found_by_digest_and_never_overlap(small_run: Run) -> None:
    document = read_json(small_run.path / "splits.json", kind="splits")
    data, key = RunSplits(small_run), DirectoryKey(small_run.path.parent)
    for name in small_run.regions.names:
        found = {part: data.part(name, part) for part in ("train", "val", "test")}
        for part, prepared in found.items():
            assert sorted(keyed_digests(prepared.digests, key)) == sorted(document["regions"][name][part])
            assert prepared.images.shape[1:] == (1, 16, 16)
        groups = [set(prepared.groups) for prepared in found.values()]
        assert not groups[0] & groups[1]
        assert not groups[2] & (groups[0] | groups[1])


def test_a_selection_reads_only_what_it_names(small_run: Run) -> None:
    data = RunSplits(small_run, "knee")
    assert data.names == ("knee",)
    assert len(data.part("knee", "train", most=7)) <= 7
    with pytest.raises(UsageError, match="unknown region 'kne'"):
        RunSplits(small_run, "kne")
    with pytest.raises(UsageError, match="unknown split 'dev'"):
        check_part("dev")


def test_a_region_is_read_once_and_not_before_it_is_needed(
    small_run: Run, monkeypatch: pytest.MonkeyPatch, reads: Counter[str]
) -> None:
    seen, read = [], locked_data.read_region
    monkeypatch.setattr(locked_data, "read_region", lambda name, *a, **k: seen.append(name) or read(name, *a, **k))
    data = RunSplits(small_run)
    for part in ("train", "val"):
        data.part("knee", part)
    data.part("knee", "test", recipe=recipe_of_region(small_run, "chest"))
    assert seen == ["knee"]
    assert reads[str(small_run.path / "splits.json")] == 1


def test_an_image_is_prepared_once_for_all_models(small_run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    done = []
    monkeypatch.setattr(f"{PREPARING}.apply_recipe", lambda *given: done.append(1) or apply_recipe(*given))
    data = RunSplits(small_run, "knee")
    first, again, few = data.part("knee", "test"), data.part("knee", "test"), data.part("knee", "test", most=3)
    assert len(done) == len(first)
    assert again.stored is first.stored
    np.testing.assert_array_equal(few.stored, first.stored[[first.digests.index(digest) for digest in few.digests]])
    other = build_recipe(ImageConfig(size=8, channels=1), small_run.config.regions["knee"])
    assert data.part("knee", "test", recipe=other).images.shape[2:] == (8, 8)
    assert len(done) == 2 * len(first)


def with_changed(run: Run, folder: Path, change: Callable[[dict[str, np.ndarray]], None]) -> RunSplits:
    """Let a run read other data of region chest than it was trained on."""
    source = Path(run.config.regions["chest"].data[0])  # type: ignore[index]
    with np.load(source) as archive:
        arrays = dict(archive)
    change(arrays)
    np.savez(folder / "chest.npz", **arrays)
    path = run.path / "config.yaml"
    path.write_text(path.read_text().replace(str(source), str(folder / "chest.npz")))
    return RunSplits(replace(run, path=run.path))


def test_data_that_changed_is_refused(small_run: Run, tmp_path: Path) -> None:
    data = with_changed(small_run, tmp_path, lambda arrays: arrays.update(images=arrays["images"] ^ 1))
    with pytest.raises(DataError, match="locked train split are not in"):
        data.samples("chest")


@pytest.mark.parametrize("part", ["train", "val", "test"])
def test_one_label_that_changed_is_refused(small_run: Run, tmp_path: Path, part: str) -> None:
    row = int(RunSplits(small_run).parts("chest")[part][0])

    def relabel(arrays: dict[str, np.ndarray]) -> None:
        arrays["labels"][row] = 1 - arrays["labels"][row]

    with pytest.raises(DataError, match=f"'chest': labels of the locked {part} split are not those"):
        with_changed(small_run, tmp_path, relabel).samples("chest")


def test_rows_in_another_order_are_the_same_data(small_run: Run, tmp_path: Path) -> None:
    order = np.random.default_rng(0).permutation(120)
    names = ("images", "labels", "groups")
    before = RunSplits(small_run).part("chest", "val")
    shuffled = with_changed(
        small_run, tmp_path, lambda arrays: arrays.update({key: arrays[key][order] for key in names})
    )
    after = shuffled.part("chest", "val")
    assert dict(zip(after.digests, after.labels, strict=True)) == dict(zip(before.digests, before.labels, strict=True))


def test_a_file_is_read_whole_and_its_classes_are_matched_by_name(small_run: Run, tmp_path: Path) -> None:
    images = np.zeros((3, 20, 20), np.uint8)
    path = tmp_path / "site.npz"
    np.savez(path, images=images, labels=[0, 1, 0], label_names=np.array(["severe", "none"]))
    knee = small_run.regions.get("knee")
    found = prepare_file(path, knee, recipe_of_region(small_run, "knee"))
    assert [knee.classes[label] for label in found.labels] == ["severe", "none", "severe"]
    np.savez(path, images=images, labels=[0, 1, 0], label_names=np.array(["severe", "fracture"]))
    with pytest.raises(DataError, match=r"'fracture'.*one of none, mild, severe"):
        prepare_file(path, knee, recipe_of_region(small_run, "knee"))


def test_a_run_that_moved_still_finds_its_data(small_run: Run, tmp_path: Path) -> None:
    moved = open_run(shutil.copytree(small_run.path, tmp_path / "elsewhere"))
    assert RunSplits(moved, "chest").part("chest", "val").digests


def test_a_repeated_image_that_is_gone_is_refused(small_run: Run) -> None:
    document = read_json(small_run.path / "splits.json", kind="splits")
    samples = {"chest": RunSplits(small_run).samples("chest")}
    held = locked_splits(document, samples, DirectoryKey(small_run.path.parent)).parts("chest")
    assert {part: len(rows) for part, rows in held.items()} == {
        part: len(digests) for part, digests in document["regions"]["chest"].items()
    }
    train = document["regions"]["chest"]["train"]
    train.append(train[0])
    with pytest.raises(DataError, match="'chest': 1 repeated images of the locked train split are gone"):
        locked_splits(document, samples, DirectoryKey(small_run.path.parent))


def test_at_most_so_many_samples_are_spread_over_the_whole_part(small_run: Run) -> None:
    data = RunSplits(small_run, "chest")
    whole = data.part("chest", "train")
    for most in (1, 7, len(whole) - 1, len(whole)):
        step = math.ceil(len(whole) / most)
        assert data.part("chest", "train", most=most).digests == whole.digests[::step]
