from __future__ import annotations

from pathlib import Path
from typing import Any

from lorkit.decompose.config import default_config
from lorkit.decompose.regions import Region, RegionSet
from lorkit.decompose.training.loop.phase import Phase
from lorkit.decompose.training.training_data import TrainingData

REGIONS = RegionSet([Region(name=name, classes=("x", "y")) for name in ("a", "b")])
PARTS: dict[str, Any] = {part: {name: f"{part} {name}" for name in REGIONS.names} for part in ("train", "val")}


def test_a_phase_has_the_parts_of_its_regions_alone() -> None:
    config = default_config(overrides=["regions={a: {data: x}, b: {data: x}}", "seed=7"])
    data = TrainingData(regions=REGIONS, teacher={"train": {"a": "seen a", "b": "seen b"}}, **PARTS)  # type: ignore[dict-item]
    own = Phase.of("one", data, config, Path("work"), regions=RegionSet([REGIONS.get("b")]))
    assert (own.train, own.val, own.teacher_train) == ({"b": "train b"}, {"b": "val b"}, {"b": "seen b"})
    assert (own.directory, own.settings, own.seed) == (Path("work/one"), config.train, 7)
    whole = Phase.of("all", TrainingData(regions=REGIONS, **PARTS), config, Path("work"))
    assert (whole.regions, whole.train, whole.teacher_train) == (REGIONS, PARTS["train"], None)
