"""SKD of volumes: its terms against the formulas, with ignored voxels, and regions without maps."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from small_masks import MASKS, distilled_volumes, masked_volumes

from lorkit.decompose.artifacts.arrays import IGNORED
from lorkit.decompose.config import default_config
from lorkit.decompose.errors import UsageError
from lorkit.decompose.methods import get_method
from lorkit.decompose.regions import Region, RegionSet


def test_the_terms_are_the_formulas_and_ignored_voxels_count_in_those_of_the_teacher_only() -> None:
    module, foundation = distilled_volumes("skd", "skd.pixel=3", "skd.pair=5", "skd.temperature=2", "skd.nodes=4")
    batch = masked_volumes()
    teacher = module.query_teacher(foundation.model, batch)
    found = module(batch, teacher)
    assert set(found) == {"ce", "pixel", "pair"}
    ours, theirs = (model(batch.image, batch.region) for model in (module.live, foundation.model))
    q, p = (one.logits["a"] / 2 for one in (ours, theirs))
    divergence = (p.softmax(1) * (p.log_softmax(1) - q.log_softmax(1))).sum(1).mean()
    torch.testing.assert_close(found["pixel"]["a"], 3 * 4 * divergence)
    cosines = []
    for side in (ours.features["a"], theirs.features["a"]):
        node = F.avg_pool3d(side, 4).flatten(2)
        cosines.append(torch.stack([F.cosine_similarity(node[:, :, at, None], node, dim=1) for at in range(64)], 1))
    torch.testing.assert_close(found["pair"]["a"], 5 * (cosines[0] - cosines[1]).square().mean())
    changed = batch._replace(label=torch.where(batch.label == IGNORED, 0, batch.label))
    again = module(changed, teacher)
    assert not torch.equal(found["ce"]["a"], again["ce"]["a"])
    assert all(torch.equal(found[term]["a"], again[term]["a"]) for term in ("pixel", "pair"))


def test_a_term_of_weight_zero_is_off_and_announced() -> None:
    module, foundation = distilled_volumes("skd", "skd.pixel=0")
    batch = masked_volumes()
    assert set(module(batch, module.query_teacher(foundation.model, batch))) == {"ce", "pair"}
    config = default_config(overrides=["regions={a: {data: x}}", "skd.pixel=0"], method="skd")
    assert get_method("skd").notices(config) == ["skd.pixel is 0: this term is off"]


@pytest.mark.parametrize("method", ["skd", "cwd"])
def test_regions_without_maps_are_refused_by_name(method: str) -> None:
    config = default_config(overrides=["regions={a: {data: x}, b: {data: x}}"], method=method)
    assert get_method(method).resolve(config, MASKS, 8) is config
    mixed = RegionSet([*MASKS, Region(name="b", classes=("x", "y"))])
    with pytest.raises(UsageError, match=f"method {method} for region 'b' of task classification, which has no maps"):
        get_method(method).resolve(config, mixed, 8)
