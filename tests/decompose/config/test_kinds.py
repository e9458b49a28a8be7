"""Keys of images and of graphs: every key belongs to one kind or to both, and the other kind refuses it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import BaseModel
from small_graphs import small_graph, write_graph

from lorkit.decompose.config import RegionConfig, SplitConfig, load_config
from lorkit.decompose.config.foundation import FoundationConfig
from lorkit.decompose.config.kinds import (
    CONFIG_OF_GRAPHS,
    CONFIG_OF_IMAGES,
    REGION_OF_GRAPHS,
    REGION_OF_IMAGES,
    stated_keys,
)
from lorkit.decompose.config.schema import Config
from lorkit.decompose.config.student import StudentConfig
from lorkit.decompose.config.training import TrainConfig
from lorkit.decompose.data import read_regions
from lorkit.decompose.data.node_samples import node_samples
from lorkit.decompose.data.readers.registry import read_region
from lorkit.decompose.errors import UsageError

REGION_OF_BOTH = {"data", "train", "val", "test", "task", "modality", "classes", "label", "parts", "threshold"}
CONFIG_OF_BOTH = {
    "name", "method", "seed", "regions", "cache", "privacy",
    "lorkd", "mola", "mmoe", "lora", "rd", "kd", "fitnet", "rkd", "sp", "dist", "cka", "skd",
    "cwd",
}  # fmt: skip
IN_SECTIONS: dict[str, tuple[type[BaseModel], set[str]]] = {
    "split": (SplitConfig, set()),
    "foundation": (FoundationConfig, set(FoundationConfig.model_fields) - {"image"}),
    "student": (StudentConfig, set(StudentConfig.model_fields) - {"weights", "stem"}),
    "train": (TrainConfig, set(TrainConfig.model_fields) - {"augment", "foreground"}),
}
"""Sections of which some keys are of one kind, with those of both."""
OTHER_VALUES: dict[str, Any] = {
    "structures": ("a",), "groups": "^(a)", "augment": False, "window": (0, 1), "intensity": "percentile",
    "overlap": True, "pos_weight": "auto", "nsd_tolerance_mm": 2.0, "unlabelled": ("more",), "spacing": 2,
    "relations": ("a",), "time": "t", "label": "y", "id": "i", "features": ("f",), "simulated": True, "recall_at": 0.05,
}  # fmt: skip
NODES = {
    "relations": ["r"], "features": ["a"], "class_count": 2, "hops": 1, "group_sizes": True, "keys": False,
    "timed": False, "label_delay": 0, "scaling": "none", "mean": [0], "std": [1],
}  # fmt: skip


def test_every_key_of_a_region_is_of_images_of_graphs_or_of_both() -> None:
    both = (*REGION_OF_IMAGES, *REGION_OF_GRAPHS, *REGION_OF_BOTH)
    assert sorted(both) == sorted(RegionConfig.model_fields)


def test_every_section_and_every_key_of_a_divided_one_has_a_kind() -> None:
    keys = (*CONFIG_OF_IMAGES, *CONFIG_OF_GRAPHS)
    whole = {key for key in keys if "." not in key}
    assert whole | CONFIG_OF_BOTH | set(IN_SECTIONS) == set(Config.model_fields)
    for name, (section, both) in IN_SECTIONS.items():
        own = [key.removeprefix(f"{name}.") for key in keys if key.startswith(f"{name}.")]
        assert sorted((*own, *both)) == sorted(section.model_fields)


@pytest.mark.parametrize("key", [key for key in REGION_OF_IMAGES if key != "window_overlap"])  # refused alone
def test_keys_of_images_are_refused_for_graphs(key: str) -> None:
    config = RegionConfig.model_validate({"data": "here", key: OTHER_VALUES[key]})
    with pytest.raises(UsageError, match=f"'fraud' of the nodes of a graph states {key}"):
        node_samples("fraud", config, small_graph())


@pytest.mark.parametrize("task", [None, "classification"])
@pytest.mark.parametrize("key", REGION_OF_GRAPHS)
def test_keys_of_graphs_are_refused_for_images(tmp_path: Path, key: str, task: str | None) -> None:
    images = np.zeros((4, 8, 8), dtype=np.uint8)
    np.savez(tmp_path / "one.npz", images=images, labels=np.arange(4) % 2)
    value = NODES if key == "nodes" else OTHER_VALUES[key]
    config = RegionConfig.model_validate({"data": "one.npz", "task": task, key: value})
    with pytest.raises(UsageError, match=f"region 'r' of images states {key}"):
        read_region("r", config, base=tmp_path)


@pytest.mark.parametrize("data", ["phantom:chest", "classes"])
def test_relations_of_drawn_images_and_of_folders_are_refused(tmp_path: Path, data: str) -> None:
    (tmp_path / "classes").mkdir()
    with pytest.raises(UsageError, match="of images states relations"):
        read_region("r", RegionConfig(data=(data,), relations=("user",)), base=tmp_path)


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("image: {size: 32}", "image"),
        ("foundation: {image: {size: 32}}", "foundation.image"),
        ("train: {augment: {flip: false}}", "train.augment"),
        ("split: {val: 0.2, test: 0.3}", "split.val, split.test"),
    ],
)
def test_sections_of_images_are_refused_for_graphs(tmp_path: Path, text: str, named: str) -> None:
    write_graph(tmp_path / "g.npz")
    path = tmp_path / "decompose.yaml"
    path.write_text(f"regions: {{fraud: {{data: g.npz}}}}\n{text}\n", encoding="utf-8")
    with pytest.raises(UsageError, match=f"^{named} in a configuration whose regions are graphs"):
        read_regions(load_config(path))


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("graph: {hops: 1}", "graph"),
        ("split: {by: random}", "split.by"),
        ("split: {by: entity, entities: a}", "split.by, split.entities"),
        ("split: {by: neighbour}", "split.by, split.hops"),
    ],
)
def test_sections_of_graphs_are_refused_for_images(tmp_path: Path, text: str, named: str) -> None:
    path = tmp_path / "decompose.yaml"
    path.write_text(f"regions: {{chest: {{data: 'phantom:chest'}}}}\n{text}\n", encoding="utf-8")
    with pytest.raises(UsageError, match=f"^{named} in a configuration whose regions are images"):
        read_regions(load_config(path))


def test_what_holds_for_graphs_may_be_said(tmp_path: Path) -> None:
    path = tmp_path / "decompose.yaml"
    text = "regions: {fraud: {data: 'phantom:payments'}}\ntrain: {augment: null}\nimage: {size: 64, channels: 3}\n"
    path.write_text(text, encoding="utf-8")
    config = load_config(path)
    assert stated_keys(config, CONFIG_OF_IMAGES) == ["train.augment"]
    assert "fraud" in read_regions(config)


@pytest.mark.parametrize(
    ("text", "refused"),
    [
        ("{data: 'phantom:chest'}}\ncache: {enabled: true}", True),
        ("{data: 'phantom:chest'}}\ncache: {enabled: true}\ntrain: {augment: {views: 2}}", False),
        ("{data: 'phantom:chest'}}\ncache: {enabled: true}\ntrain: {augment: null}", False),
        ("{data: 'phantom:chest', augment: false}}\ncache: {enabled: true}", False),
        ("{data: 'phantom:payments'}}\ncache: {enabled: true}", False),
    ],
)
def test_a_cache_needs_images_that_come_again(tmp_path: Path, text: str, refused: bool) -> None:
    path = tmp_path / "decompose.yaml"
    path.write_text(f"regions: {{one: {text}\n", encoding="utf-8")
    config = load_config(path)
    if refused:
        with pytest.raises(UsageError, match=r"train\.augment\.views .* or train\.augment null"):
            read_regions(config)
    else:
        assert "one" in read_regions(config)
