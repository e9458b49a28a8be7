"""Splits: no leak, every class everywhere, fractions, determinism, and the lock."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lorkit.decompose.artifacts.keys import DirectoryKey
from lorkit.decompose.config import RegionConfig, SplitConfig
from lorkit.decompose.data.samples.samples import RegionSamples, check_samples
from lorkit.decompose.data.samples.source import Source
from lorkit.decompose.data.splits import Splits, components, find_leaks, regions_of_same_images, split_regions
from lorkit.decompose.errors import ArtifactError, DataError
from lorkit.decompose.runs.locked_data import locked_splits

Make = Callable[..., RegionSamples]
KEY = DirectoryKey(Path("runs"))


def split(samples: RegionSamples, seed: int = 0) -> dict[str, np.ndarray]:
    return split_regions({"r": samples}, SplitConfig(), seed=seed).parts("r")


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_parts_never_share_a_group_or_an_image(data: st.DataObject) -> None:
    count = data.draw(st.integers(40, 120))
    seed = data.draw(st.integers(0, 2**20))
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 256, (count, 4, 4), dtype=np.uint8)
    images[rng.integers(0, count, 3)] = images[rng.integers(0, count, 3)]
    source = Source(
        images=images,
        labels=np.arange(count, dtype=np.int64) % 2,
        classes=("a", "b"),
        ids=tuple(map(str, range(count))),
        groups=tuple(f"g{number}" for number in rng.integers(0, count // 2, count)),
        parts=(None,) * count,
        origin="memory",
    )
    samples = check_samples("r", RegionConfig(data=("x",)), source)
    parts = split(samples, seed)
    assert sorted(np.concatenate(list(parts.values())).tolist()) == list(range(count))
    for piece in components(samples.groups, samples.digests):
        owners = [name for name, indices in parts.items() if np.isin(piece, indices).any()]
        assert len(owners) == 1
    for indices in parts.values():
        assert set(samples.labels[indices]) == {0, 1}


def test_components_join_groups_through_a_shared_image(make: Make) -> None:
    images = np.arange(5, dtype=np.uint8)[:, None, None] * np.ones((1, 4, 4), np.uint8)
    images[3] = images[0]
    samples = make([0, 0, 1, 1, 0], images=images, groups=["p", "p", "q", "r", "r"])
    assert sorted(piece.tolist() for piece in components(samples.groups, samples.digests)) == [[0, 1, 3, 4], [2]]


def test_fractions_hold_by_class(make: Make) -> None:
    labels = [0] * 300 + [1] * 60 + [2] * 20
    samples = make(labels, classes=("a", "b", "c"))
    parts = split(samples)
    for part, share in (("train", 0.7), ("val", 0.15), ("test", 0.15)):
        counts = np.bincount(samples.labels[parts[part]], minlength=3)
        np.testing.assert_allclose(counts / np.array([300, 60, 20]), share, atol=0.05)


def test_every_part_gets_large_and_small_groups(make: Make) -> None:
    groups = [f"large{index // 4}" for index in range(400)] + [f"small{index}" for index in range(200)]
    samples = make([index % 2 for index in range(600)], groups=groups)
    for indices in split(samples).values():
        share = np.mean([samples.groups[index].startswith("large") for index in indices])
        assert 0.5 < share < 0.85


def test_a_group_larger_than_a_part_goes_to_train(make: Make) -> None:
    samples = make([index % 2 for index in range(100)], groups=["hospital"] * 40 + [f"g{index}" for index in range(60)])
    assert set(range(40)) <= set(split(samples)["train"].tolist())


def test_same_seed_same_split_whatever_the_order_of_rows(make: Make) -> None:
    images = np.random.default_rng(3).integers(0, 256, (60, 4, 4), dtype=np.uint8)
    labels = np.arange(60) % 2
    order = np.random.default_rng(4).permutation(60)
    one, two = make(labels.tolist(), images=images), make(labels[order].tolist(), images=images[order])
    for part in ("train", "val", "test"):
        digests = [{samples.digests[index] for index in split(samples)[part]} for samples in (one, two)]
        assert digests[0] == digests[1]
    assert split(one, 0)["test"].tolist() != split(one, 1)["test"].tolist()


def test_class_with_too_few_groups_is_named(make: Make) -> None:
    with pytest.raises(DataError, match=r"class 'b' of region 'r' has 2 groups"):
        split(make([0] * 20 + [1] * 4, groups=[f"g{index}" for index in range(20)] + ["x", "x", "y", "y"]))
    assert split(make([0] * 20 + [1] * 3))["val"].size


@pytest.mark.parametrize("kind", ["group", "image"])
def test_leaks_between_stated_parts_name_both_samples(make: Make, kind: str) -> None:
    images = np.random.default_rng(0).integers(0, 256, (6, 4, 4), dtype=np.uint8)
    groups = list("uvwxyz")
    if kind == "group":
        groups[5] = "u"
    else:
        images[5] = images[0]
    stated = ["train", "train", "val", "val", "test", "test"]
    samples = make([0, 1] * 3, images=images, groups=groups, parts=stated)
    assert [(leak.kind, leak.first, leak.second) for leak in find_leaks(samples)] == [(kind, 0, 5)]
    with pytest.raises(DataError, match=r"'s0' \(group 'u'\) in train and 's5' \(group '[uz]'\) in test"):
        split(samples)


def test_stated_parts_are_kept_and_need_every_class(make: Make) -> None:
    stated = ["train"] * 4 + ["val"] * 2 + ["test"] * 2
    parts = split(make([0, 1] * 4, parts=stated))
    assert [parts[part].tolist() for part in ("train", "val", "test")] == [[0, 1, 2, 3], [4, 5], [6, 7]]
    with pytest.raises(DataError, match="class 'b' of region 'r' has no sample in its test part"):
        split(make([0, 1] * 3 + [0, 0], parts=stated))


def test_missing_part_is_taken_out_of_train(make: Make) -> None:
    parts = split(make([0, 1] * 50, parts=["train"] * 80 + ["test"] * 20))
    assert parts["test"].tolist() == list(range(80, 100))
    assert len(parts["val"]) == 12
    assert len(parts["train"]) == 68


def test_lock_finds_samples_by_content(make: Make) -> None:
    images = np.random.default_rng(0).integers(0, 256, (40, 4, 4), dtype=np.uint8)
    images[7] = images[9]
    labels = [0, 1] * 20
    samples = make(labels, images=images)
    splits = split_regions({"r": samples}, SplitConfig(), seed=0)
    document = json.loads(json.dumps(splits.to_json({"r": samples}, KEY)))
    assert document["kind"] == "splits"
    again = locked_splits(document, {"r": samples}, KEY)
    for part, indices in splits.parts("r").items():
        assert again.parts("r")[part].tolist() == indices.tolist()
    shuffled = make([*labels[::-1], 0], images=np.concatenate([images[::-1], images[:1] ^ 255]))
    found = locked_splits(document, {"r": shuffled}, KEY)
    assert sorted(39 - found.parts("r")["test"]) == splits.parts("r")["test"].tolist()


def test_lock_refuses_what_is_gone(make: Make) -> None:
    samples = make([0, 1] * 20)
    document = split_regions({"r": samples}, SplitConfig(), seed=0).to_json({"r": samples}, KEY)
    fewer = make([0, 1] * 19, images=samples.images[:38])
    with pytest.raises(DataError, match="images of the locked"):
        locked_splits(document, {"r": fewer}, KEY)
    with pytest.raises(ArtifactError, match="no region 's'"):
        locked_splits(document, {"s": samples}, KEY)
    with pytest.raises(ArtifactError, match="locked split is damaged"):
        locked_splits({"kind": "run"}, {"r": samples}, KEY)


def test_lock_refuses_changed_labels(make: Make) -> None:
    labels = [0, 1] * 20
    samples = make(labels)
    document = split_regions({"r": samples}, SplitConfig(), seed=0).to_json({"r": samples}, KEY)
    other = make([1 - labels[0], *labels[1:]], images=samples.images)
    with pytest.raises(DataError, match=r"labels of the locked \w+ split"):
        locked_splits(document, {"r": other}, KEY)


def test_lock_refuses_a_lost_repetition(make: Make) -> None:
    images = np.zeros((2, 4, 4), np.uint8)
    samples = make([0, 1], images=images)
    document = Splits({"r": {"train": np.array([0, 1])}}).to_json({"r": samples}, KEY)
    other = make([0, 1], images=np.stack([images[0], images[0] + 1]))
    with pytest.raises(DataError, match="repeated"):
        locked_splits(document, {"r": other}, KEY)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**20), st.sampled_from(["none", "first", "second", "train"]))
def test_an_image_of_several_regions_is_in_one_part(seed: int, stated: str) -> None:
    rng = np.random.default_rng(seed)
    pixels = np.unique(rng.integers(0, 256, (90, 4, 4), dtype=np.uint8), axis=0)
    rows = {"a": np.arange(60), "b": np.arange(30, 90)}
    parts = rng.permutation(["train"] * 30 + ["val"] * 15 + ["test"] * 15)
    if stated == "train":
        parts = np.where(parts == "val", "train", parts)
    says = {"none": (), "first": ("a",), "second": ("b",), "train": ("a",)}[stated]
    samples = {}
    for name, chosen in rows.items():
        source = Source(
            images=pixels[chosen],
            labels=np.arange(60, dtype=np.int64) % 2,
            classes=("a", "b"),
            ids=tuple(f"{name}{row}" for row in chosen),
            groups=tuple(f"{name}{row // 2}" for row in chosen),
            parts=tuple(parts.tolist()) if name in says else (None,) * 60,
            origin="memory",
        )
        if says:  # else a patient of two images would contradict the stated parts
            source = replace(source, groups=source.ids)
        samples[name] = check_samples(name, RegionConfig(data=("x",)), source)
    found = split_regions(samples, SplitConfig(), seed=seed)
    owners: dict[str, set[str]] = {}
    for name, region in samples.items():
        for part, indices in found.parts(name).items():
            for index in indices:
                owners.setdefault(region.digests[index], set()).add(part)
    assert len(owners) == len(pixels)
    assert all(len(found) == 1 for found in owners.values())


def test_contradicting_parts_of_two_regions_are_refused(make: Make) -> None:
    images = np.arange(12, dtype=np.uint8)[:, None, None] * np.ones((1, 4, 4), np.uint8)
    parts = ["train", "val", "test"] * 4
    one = make([0, 0, 0, 1, 1, 1] * 2, images=images, parts=parts)
    two = make([0, 0, 0, 1, 1, 1] * 2, images=images, parts=["val", "train", "test"] * 4)
    with pytest.raises(DataError, match=r"is in val; the same image or patient, sample .* is in train"):
        split_regions({"a": one, "b": two}, SplitConfig(), seed=0)


def test_a_contradiction_is_solved_by_splitting_one_region_anew(make: Make, make_source: Callable[..., Source]) -> None:
    images = np.arange(12, dtype=np.uint8)[:, None, None] * np.ones((1, 4, 4), np.uint8)
    labels, parts = [0, 0, 0, 1, 1, 1] * 2, ["train", "val", "test"] * 4
    one = make(labels, images=images, parts=parts)
    source = make_source(labels, images=images, parts=["val", "train", "test"] * 4)
    two = check_samples("b", RegionConfig(data=("x",), parts="anew"), source)
    found = split_regions({"b": two, "a": one}, SplitConfig(), seed=0)
    assert all(np.array_equal(found.parts("a")[part], found.parts("b")[part]) for part in ("train", "val", "test"))


def test_too_few_groups_names_those_that_other_regions_fix(make: Make) -> None:
    images = np.arange(24, dtype=np.uint8)[:, None, None] * np.ones((1, 4, 4), np.uint8)
    one = make([0, 1] * 12, images=images, parts=["train"] * 12 + ["val"] * 6 + ["test"] * 6)
    two = make([0, 1] * 3, images=images[:6])
    with pytest.raises(DataError, match=r"has 3 groups \(3 in the parts where other regions have their images\)"):
        split_regions({"a": one, "b": two}, SplitConfig(), seed=0)


def test_parts_that_leak_can_be_dealt_anew(make: Make, make_source: Callable[..., Source]) -> None:
    """The remedy that the error names works."""
    images = np.arange(40, dtype=np.uint8)[:, None, None] * np.ones((1, 4, 4), np.uint8)
    images[39] = images[0]
    settings = {"images": images, "parts": ["train"] * 20 + ["val"] * 10 + ["test"] * 10}
    with pytest.raises(DataError, match=r"are the same image.*set parts: anew in the region"):
        split(make([0, 1] * 20, **settings))
    samples = check_samples("r", RegionConfig(data=("x",), parts="anew"), make_source([0, 1] * 20, **settings))
    found = split(samples)
    assert sum(0 in indices and 39 in indices for indices in found.values()) == 1


def labelled(table: list[list[int]], parts: list[str | None] | None = None) -> RegionSamples:
    count = len(table)
    source = Source(
        images=np.random.default_rng(0).integers(0, 256, (count, 4, 4), dtype=np.uint8),
        labels=np.array(table, dtype=np.int64),
        classes=("common", "rare"),
        ids=tuple(map(str, range(count))),
        groups=tuple(str(index // 2) for index in range(count)),
        parts=tuple(parts or [None] * count),
        origin="memory",
    )
    return check_samples("r", RegionConfig(data=("x",)), source)


def test_parts_have_their_share_of_images_and_of_every_label() -> None:
    rng = np.random.default_rng(0)
    samples = labelled((rng.random((400, 2)) < (0.4, 0.1)).astype(int).tolist())
    for part, indices in split(samples).items():
        share = {"train": 0.7}.get(part, 0.15)
        assert len(indices) == pytest.approx(400 * share, abs=12)
        np.testing.assert_allclose(samples.labels[indices].sum(0), samples.labels.sum(0) * share, atol=4)


def test_a_label_of_one_patient_is_trained_on_and_may_be_missing_elsewhere() -> None:
    table = [[index // 2 % 2, int(index < 2)] for index in range(60)]
    parts = split(labelled(table))
    assert {0, 1} <= set(parts["train"].tolist())


def test_parts_that_cannot_teach_or_choose_are_refused() -> None:
    both, none = [[1, 1], [0, 0]], [[1, -1], [1, -1]]
    with pytest.raises(DataError, match="label 'rare' of region 'r' in its train part has no positive"):
        split(labelled([[1, 0], [0, 0], *both, *both], ["train"] * 2 + ["val"] * 2 + ["test"] * 2))
    with pytest.raises(DataError, match="no label of region 'r' has positive and negative samples in its val part"):
        split(labelled([*both, *none, *both], ["train"] * 2 + ["val"] * 2 + ["test"] * 2))
    assert len(split(labelled([*both, *both, *none], ["train"] * 2 + ["val"] * 2 + ["test"] * 2))["test"]) == 2


def test_regions_with_an_image_in_common_are_named(make: Make) -> None:
    mask, grade, other = (make([0, 1] * 6, name=name) for name in ("mask", "grade", "other"))
    shared = {"mask": mask, "grade": replace(grade, digests=(*grade.digests[:-1], mask.digests[0]))}
    apart = replace(other, digests=tuple(f"{index:064x}" for index in range(12)))
    assert regions_of_same_images({**shared, "other": apart}) == [("mask", "grade")]
    assert regions_of_same_images({"mask": mask, "other": apart}) == []
