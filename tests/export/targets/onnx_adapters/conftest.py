"""An export of two regions that nobody trained, as base and adapters."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from mixtures import mixture_of
from settled_models import settled
from small_runs import register_tiny

from lorkit import profiles
from lorkit.decompose.config import default_config
from lorkit.decompose.methods import get_method
from lorkit.decompose.models.deployed_mixtures import region_id_network
from lorkit.decompose.models.regional import RegionalModel
from lorkit.decompose.regions import Region, RegionSet
from lorkit.export.targets import get_target
from lorkit.export.targets.base import BuildRequest

REGIONS = RegionSet([Region(name="chest", classes=("no", "yes")), Region(name="knee", classes=("a", "b", "c"))])


@pytest.fixture(scope="module")
def model() -> Iterator[RegionalModel]:
    """A network with adapters of two ranks and norms by region, which nobody trained."""
    with pytest.MonkeyPatch.context() as patch:
        register_tiny(patch.setitem)
        data = "regions={chest: {data: x}, knee: {data: x}}"
        settings = [data, "image.size=16", "student.backbone=tiny", "lorkd.ranks.knee=3", "lorkd.rank=2"]
        found = settled(get_method("lorkd").build(default_config(overrides=settings), REGIONS, None).live).float()
        assert isinstance(found, RegionalModel)
        yield found


@pytest.fixture
def built(model: RegionalModel, tmp_path: Path, build_request: Callable[..., BuildRequest]) -> BuildRequest:
    """The request of an export in its directory, with the base and its adapters."""
    about = build_request(tmp_path, mixture=mixture_of("region-id", REGIONS), region="region-id")
    network = region_id_network(model, (1, 16, 16))
    request = replace(about, network=network, profile=profiles.load("cpu-generic"))
    assert get_target("onnx-adapters").build(request).name == "base.onnx"
    return request
