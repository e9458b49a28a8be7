"""What names a space, what a store takes and refuses, and how room is kept: no training here."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load, save

from lorkit.decompose.artifacts import digest_bytes, files
from lorkit.decompose.config import Config, config_digest, default_config
from lorkit.decompose.data.batches.loader import BatchLoader
from lorkit.decompose.data.prepared import PreparedRegion
from lorkit.decompose.data.preprocessing.recipe import build_recipe
from lorkit.decompose.errors import StorageError, UsageError
from lorkit.decompose.methods.baselines.students import shared_network
from lorkit.decompose.models.foundation.model import Foundation
from lorkit.decompose.models.foundation.teacher import TeacherFeatures
from lorkit.decompose.regions import Region, RegionSet
from lorkit.decompose.training import feature_cache
from lorkit.decompose.training.feature_cache.budget import make_room
from lorkit.decompose.training.feature_cache.namespaces import FeatureNamespace, cache_key, namespace_of, teacher_digest
from lorkit.decompose.training.feature_cache.store import ABOUT, Store
from lorkit.decompose.training.feature_cache.tensors import layouts_of

ONE = Region(name="a", classes=("x", "y"))
CPU = torch.device("cpu")


def configured(*settings: str) -> Config:
    small = ("image.size=8", "image.channels=1", "train.augment={views: 3}", "cache.enabled=true")
    return default_config(overrides=["regions={a: {data: x}}", *small, *settings])


def prepared(count: int = 6, intensity: str = "dtype") -> PreparedRegion:
    config = configured(f"regions.a.intensity={intensity}")
    rng = np.random.default_rng(0)
    stored = rng.random((count, 1, 8, 8), dtype=np.float32)
    return PreparedRegion(
        region=ONE,
        recipe=build_recipe(config.image, config.regions["a"]),
        stored=stored,
        labels=np.arange(count) % 2,
        groups=tuple(f"g{index}" for index in range(count)),
        ids=tuple(f"i{index}" for index in range(count)),
        digests=tuple(digest_bytes(image.tobytes()) for image in stored),
    )


def teacher(seed: int = 0) -> Foundation:
    torch.manual_seed(seed)
    config = configured()
    model = shared_network(config, "shufflenet_v2_x1_0", RegionSet([ONE])).eval()
    image = config.image.model_dump(mode="json")
    return Foundation(model=model, backbone="shufflenet", regions=RegionSet([ONE]), heads={"a": "own"}, image=image)


def answer(count: int = 4, seed: int = 0) -> TeacherFeatures:
    """Features and one channels-last grid."""
    generator = torch.Generator().manual_seed(seed)
    grid = torch.randn(count, 3, 2, 2, generator=generator).contiguous(memory_format=torch.channels_last)
    return TeacherFeatures((grid,), torch.randn(count, 5, generator=generator))


def tensors(given: TeacherFeatures) -> dict[str, torch.Tensor]:
    return {"features": given.features, "grid0": given.grids[0]}


def space(name: str = "s", dtype: str = "fp32") -> FeatureNamespace:
    return FeatureNamespace(name=name, layout=layouts_of(answer(), ["a"], dtype)["a"], about={})


def keys(count: int = 4, view: int = 0) -> list[bytes]:
    return [cache_key(digest_bytes(bytes([index])), view) for index in range(count)]


def opened(root: Path, kind: FeatureNamespace | None = None) -> tuple[Store, list[str]]:
    heard: list[str] = []
    return Store(root, kind or space(), heard.append), heard


def name_of(
    foundation: Foundation, *settings: str, part: PreparedRegion | None = None, given: Any = None, device: str = "cpu"
) -> str:
    config = configured(*settings)
    layout = layouts_of(answer() if given is None else given, ["a"], config.cache.dtype)["a"]
    where = torch.device(device)
    digest = teacher_digest(foundation)
    return namespace_of(
        digest, foundation, (prepared(), part or prepared()), layout, config.train, seed=config.seed, device=where
    ).name


def test_everything_that_decides_a_feature_names_another_space() -> None:
    foundation = teacher()
    base = name_of(foundation)
    other = {
        "weights": name_of(teacher(1)),
        "image": name_of(replace(foundation, image={**foundation.image, "size": [9, 9]})),
        "recipe": name_of(foundation, part=prepared(intensity="percentile")),
        "seed": name_of(foundation, "seed=1"),
        "augmentation": name_of(foundation, "train.augment.rotate=9"),
        "no augmentation": name_of(foundation, "train.augment=null"),
        "dtype": name_of(foundation, "cache.dtype=bf16"),
        "half": name_of(foundation, "cache.dtype=fp16"),
        "precision": name_of(foundation, "train.precision=bf16"),
        "stages": name_of(foundation, given=answer()._replace(grids=())),
        "device": name_of(foundation, device="cuda"),
    }
    assert len({base, *other.values()}) == len(other) + 1
    with torch.no_grad():
        next(foundation.model.backbone.buffers()).add_(1e-3)  # a running statistic alone
    assert name_of(foundation) != base


def test_what_decides_nothing_shares_a_space() -> None:
    foundation = teacher()
    base = name_of(foundation)
    assert name_of(foundation, "train.augment={views: 5}") == base
    assert name_of(foundation, "train.lr=0.5", "cache.budget=7") == base
    still = name_of(foundation, "train.augment=null")
    assert name_of(foundation, "train.augment=null", "seed=4") == still
    torch.nn.init.ones_(foundation.model.heads["a"].weight)  # type: ignore[arg-type]
    assert name_of(foundation) == base


def test_a_replaced_sample_or_another_view_is_another_entry() -> None:
    first, second = digest_bytes(b"a"), digest_bytes(b"b")
    assert len({cache_key(first, 0), cache_key(first, 1), cache_key(second, 0)}) == 3


@pytest.mark.parametrize("dtype", ["fp32", "fp16", "bf16"])
def test_a_later_process_reads_what_was_kept_in_any_order(tmp_path: Path, dtype: str) -> None:
    kind, given = space(dtype=dtype), answer()
    store, _ = opened(tmp_path, kind)
    assert store.add(keys(), tensors(given)) == 4 * kind.sample_bytes
    assert store.add(keys(), tensors(given)) == 0
    store.flush()
    later, heard = opened(tmp_path, kind)
    order = [2, 0, 3, 1, 2]
    found = later.read([keys()[index] for index in order])
    rounded = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}[dtype]
    for name, value in tensors(given).items():
        assert torch.equal(found[name], value[order].to(rounded).float())
        assert found[name].stride() == value[order].stride()  # channels last where they were
    assert heard == []
    assert keys(view=1)[0] not in later


@pytest.mark.parametrize("damage", ["truncated", "flipped", "renamed", "space", "dtype", "shape", "no header"])
def test_a_shard_that_is_not_what_it_says_is_removed_and_told(tmp_path: Path, damage: str) -> None:
    store, _ = opened(tmp_path)
    store.add(keys(), tensors(answer()))
    store.flush()
    (path,) = store.directory.glob("*.safetensors")
    data = path.read_bytes()
    path.unlink()
    name = path.name
    if damage in ("truncated", "flipped"):
        data = data[:-7] if damage == "truncated" else data[:-1] + bytes([data[-1] ^ 1])
    else:
        held = load(data)
        if damage == "dtype":
            held["features"] = held["features"].to(torch.bfloat16)
        if damage == "shape":
            held["features"] = held["features"][:, :4].contiguous()
        other = save(held, metadata={"space": "t" if damage == "space" else "s"})
        data = {"renamed": data, "no header": b"\x04\0\0\0\0\0\0\0nope"}.get(damage, other)
        name = f"{digest_bytes(data)[:32] if damage != 'renamed' else 'f' * 32}.safetensors"
    (store.directory / name).write_bytes(data)
    later, heard = opened(tmp_path)
    assert len(later) == 0
    assert len(heard) == 1
    assert "removed" in heard[0]
    assert not list(store.directory.glob("*.safetensors"))


def test_two_processes_keep_each_entry_once(tmp_path: Path) -> None:
    (first, _), (second, _) = opened(tmp_path), opened(tmp_path)
    given = answer()
    first.add(keys()[:3], {name: value[:3] for name, value in tensors(given).items()})
    second.add(keys()[1:], {name: value[1:] for name, value in tensors(given).items()})
    first.flush()
    second.flush()
    first.refresh()
    rows = [len(load(path.read_bytes())["keys"]) for path in first.directory.glob("*.safetensors")]
    assert sorted(rows) == [1, 3]
    assert torch.equal(first.read(keys())["features"], given.features)


def test_a_full_disk_leaves_nothing_half_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store, _ = opened(tmp_path)
    store.add(keys(), tensors(answer()))
    before = sorted(store.directory.iterdir())

    def full(handle: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(files.os, "fsync", full)
    with pytest.raises(StorageError, match=r"cannot write .* MiB into .*No space left.*cache\.directory") as caught:
        store.flush()
    assert caught.value.exit_code == 6
    assert sorted(store.directory.iterdir()) == before


def test_an_open_space_is_the_last_used_and_keeps_what_is_being_written(tmp_path: Path) -> None:
    store, _ = opened(tmp_path)
    fresh, torn = (store.directory / f".{name}.safetensors.part" for name in ("fresh", "torn"))
    for path in (fresh, torn, store.directory / ABOUT):
        path.touch()
    long_ago = fresh.stat().st_mtime - 7200
    for path in (torn, store.directory / ABOUT):
        os.utime(path, (long_ago, long_ago))
    opened(tmp_path)
    assert (store.directory / ABOUT).stat().st_mtime > long_ago
    assert (fresh.exists(), torn.exists()) == (True, False)


def spaces_of(root: Path) -> list[str]:
    return sorted(path.name for path in root.iterdir() if path.is_dir())


@contextmanager
def reader(directory: Path) -> Iterator[None]:
    """Another process that has a space open, and is killed."""
    code = "import sys, time, filelock; lock = filelock.ReadWriteLock(sys.argv[1], is_singleton=False)\n"
    code += "lock.acquire_read(); print('open', flush=True); time.sleep(60)"
    lock = str(directory.with_name(f".{directory.name}.lock"))  # the space's lock, without importing torch
    with subprocess.Popen([sys.executable, "-c", code, lock], stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == b"open\n"
            yield
        finally:
            process.kill()


def test_room_is_made_from_what_was_used_longest_ago_and_is_free(tmp_path: Path) -> None:
    stores = {}
    for age, name in ((50, "old"), (40, "held"), (30, "ours"), (20, "new")):
        store, _ = opened(tmp_path, space(name))
        store.add(keys(), tensors(answer()))
        store.flush()
        now = (store.directory / ABOUT).stat().st_mtime
        os.utime(store.directory / ABOUT, (now - age, now - age))
        stores[name] = store
    for name in ("old", "held", "new"):
        stores[name].close()
    heard: list[str] = []
    held = sum(path.stat().st_size for path in tmp_path.rglob("*") if path.is_file()) / 2**20
    with reader(tmp_path / "held"), reader(tmp_path / "held"):  # several may read at once
        make_room(tmp_path, 1e-4, held, {"ours"}, heard.append)
        assert spaces_of(tmp_path) == ["held", "new", "ours"]
        make_room(tmp_path, held, held, set(), heard.append)
        assert spaces_of(tmp_path) == ["held", "ours"]  # nobody takes what another process, or this one, reads
        assert len(heard) == 2
    make_room(tmp_path, held, held, {"ours"}, heard.append)
    assert spaces_of(tmp_path) == ["ours"], "the lock dies with the process"
    with pytest.raises(StorageError, match="are free"):
        make_room(tmp_path, 1e12, 1e13, set(), heard.append)


def test_an_estimate_above_the_budget_names_the_ways_out(tmp_path: Path) -> None:
    settings = configured("cache.budget=10").cache
    estimate = feature_cache.Estimate(
        samples=1000, views=4, view_bytes=1000 * 2**20, settings=settings, directory=tmp_path
    )
    ways = r"1000 images x 4 views x 1024\.0 KiB in fp32 = 4000\.0 MiB.*cache\.budget 10 MiB.*bf16.*views"
    with pytest.raises(UsageError, match=ways):
        estimate.check()
    replace(estimate, samples=2, view_bytes=2 * 2**20).check()


def test_a_cache_of_exact_features_makes_no_other_run() -> None:
    base = config_digest(configured("cache.enabled=false"))
    assert config_digest(configured("cache.budget=3")) == base
    assert config_digest(configured("cache.dtype=bf16")) != base


def test_views_are_the_pictures_of_a_pass_and_come_again() -> None:
    part = prepared()

    def pictures(one: PreparedRegion, seed: int = 0) -> dict[tuple[str, int], set[bytes]]:
        settings = {"batch_size": 3, "sampling": "balanced", "seed": seed, "augment": configured().train.augment}
        loader = BatchLoader({"a": one}, RegionSet([ONE]), **settings)  # type: ignore[arg-type]
        found: dict[tuple[str, int], set[bytes]] = {}
        for epoch in range(7):
            loader.set_epoch(epoch)
            for batch in loader:
                assert batch.view is not None
                for image, sample, view in zip(batch.image, batch.sample.tolist(), batch.view.tolist(), strict=True):
                    found.setdefault((one.digests[sample], view), set()).add(image.numpy().tobytes())
        return found

    whole = pictures(part)
    assert len(whole) == 6 * 3
    assert all(len(versions) == 1 for versions in whole.values())
    assert len(set().union(*whole.values())) == 6 * 3
    some = pictures(part.take([4, 1, 2]))
    assert some == {key: whole[key] for key in some}  # a fraction of the patients has the same views
    assert pictures(part, seed=1) != whole
