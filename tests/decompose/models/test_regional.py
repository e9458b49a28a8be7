from __future__ import annotations

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from lorkit.decompose.config import ExpertConfig
from lorkit.decompose.errors import DataError, UsageError
from lorkit.decompose.experts import Routing, add_experts_, factor_parameters, fuse_
from lorkit.decompose.models.regional import RegionalModel, SeparateModels
from lorkit.decompose.regions import Region, RegionSet

REGIONS = RegionSet(
    [
        Region(name="brain", classes=("a", "b")),
        Region(name="chest", classes=("a", "b", "c")),
        Region(name="knee", classes=("a", "b")),
    ]
)
IDS = torch.tensor([2, 0, 1, 1, 2, 0, 1])
STATISTICS = {"mean": (0.5, 0.4), "std": (0.25, 0.2)}


class Tiny(nn.Module):
    """A headless network of two convolutions, optionally recomputed in backward."""

    feature_dim, head_name = 6, "head"

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(2, 5, 3, stride=2), nn.BatchNorm2d(5)
        self.conv2 = nn.Conv2d(5, 6, 1)
        self.head: nn.Module = nn.Identity()
        self.recompute = False

    def body(self, x: Tensor) -> Tensor:
        return self.conv2(self.bn1(self.conv1(x)).relu()).mean((2, 3))

    def forward(self, x: Tensor) -> Tensor:
        y = checkpoint(self.body, x, use_reentrant=False) if self.recompute else self.body(x)
        return self.head(y)


def joint(norm: str = "region", experts: bool = True) -> RegionalModel:
    torch.manual_seed(0)
    backbone = Tiny()
    routing = add_experts_(backbone, REGIONS.names, ExpertConfig(rank=2, norm=norm)) if experts else None  # type: ignore[arg-type]
    model = RegionalModel(backbone, REGIONS, routing=routing, **STATISTICS)
    for parameter in factor_parameters(model):
        nn.init.normal_(parameter, std=0.3)
    return model.double()


def separate() -> SeparateModels:
    torch.manual_seed(0)
    models = {region.name: RegionalModel(Tiny(), RegionSet([region]), **STATISTICS) for region in REGIONS}
    return SeparateModels(models, REGIONS).double()


def images(count: int = len(IDS)) -> Tensor:
    return torch.rand(count, 2, 8, 8, dtype=torch.float64)


@pytest.mark.parametrize("build", [joint, lambda: joint(experts=False), separate], ids=["lorkd", "mtl", "stl"])
def test_a_mixed_batch_gives_each_row_what_its_plain_network_does(build: object) -> None:
    model = build().eval()  # type: ignore[operator]
    image = images()
    with torch.no_grad():
        output = model(image, IDS)
        assert list(output.logits) == list(REGIONS.names)
        for t, region in enumerate(REGIONS):
            rows = output.rows[region.name]
            assert rows.tolist() == (t == IDS).nonzero().flatten().tolist()
            assert output.logits[region.name].shape == (len(rows), len(region.classes))
            torch.testing.assert_close(output.logits[region.name], model.deployable(region.name)(image[rows]))
            alone = model(image[rows], region.name)
            torch.testing.assert_close(alone.logits[region.name], output.logits[region.name])
            torch.testing.assert_close(alone.features[region.name], output.features[region.name])
            if isinstance(model, RegionalModel):
                torch.testing.assert_close(model.features(image, IDS)[rows], output.features[region.name])


def test_regions_absent_from_the_batch_are_absent_from_the_output() -> None:
    output = joint()(images(4), torch.tensor([2, 0, 2, 0]))
    assert list(output.logits) == list(output.rows) == ["brain", "knee"]


@pytest.mark.parametrize("norm", ["shared", "statistics", "region"])
def test_order_of_the_batch_does_not_matter(norm: str) -> None:
    image, order = images(), torch.argsort(IDS, stable=True)
    first, second = joint(norm), joint(norm)
    mixed, grouped = first(image, IDS), second(image[order], IDS[order])
    torch.testing.assert_close(mixed.features, grouped.features)
    for region in REGIONS.names:
        torch.testing.assert_close(mixed.logits[region], grouped.logits[region])
    torch.testing.assert_close(first.state_dict(), second.state_dict())


def test_the_step_owns_the_scope_so_recomputation_in_backward_works() -> None:
    image, model = images(), joint("shared")
    losses = []
    for recompute in (False, True):
        model.backbone.recompute = recompute
        model.zero_grad()
        with model.scope(IDS):
            output = model(image, IDS)
            sum(F.cross_entropy(value, torch.zeros(len(value)).long()) for value in output.logits.values()).backward()
        losses.append({name: p.grad.clone() for name, p in model.named_parameters()})
    torch.testing.assert_close(losses[0], losses[1])
    model.features(image, IDS).sum()
    with pytest.raises(UsageError, match="without a region"):  # nobody held the scope: loud, not wrong
        model.features(image, IDS).sum().backward()


def test_a_model_copies_after_a_forward_and_inside_a_scope() -> None:
    model = joint()
    with model.scope(IDS):
        model(images(), IDS)
        twin = copy.deepcopy(model)
    assert twin.routing is twin.backbone.conv1.routing
    image = images()
    torch.testing.assert_close(twin.eval()(image, IDS).features, model.eval()(image, IDS).features)


def test_activate_switches_the_live_model() -> None:
    model, image = joint().eval(), images(3)
    with pytest.raises(UsageError, match="a batch without a region"):
        model(image)
    model.activate("chest")
    assert list(model(image).logits) == ["chest"]
    assert torch.equal(model.features(image), model.features(image, "chest"))


def test_a_fused_model_runs_its_region_and_extracts_the_others() -> None:
    model, image = joint().eval(), images(3)
    expected = {region: model.deployable(region)(image) for region in REGIONS.names}
    fuse_(model, "brain")
    torch.testing.assert_close(model(image).logits["brain"], expected["brain"])
    assert torch.equal(model.deployable("knee")(image), expected["knee"])


@pytest.mark.parametrize("norm", ["shared", "region"])
def test_without_experts_it_is_the_backbone_without_updates(norm: str) -> None:
    model, image = joint(norm).eval(), images()
    stripped = copy.deepcopy(model)
    with torch.no_grad():
        for parameter in factor_parameters(stripped):
            parameter.zero_()
    with model.routing.without_experts():
        bare = model.features(image, IDS)
    torch.testing.assert_close(bare, stripped.features(image, IDS))
    assert not torch.allclose(bare, model.features(image, IDS))


def test_soft_gates_give_features_but_no_logits() -> None:
    model, image = joint().eval(), images()
    gates = F.one_hot(IDS, 3).double()
    torch.testing.assert_close(model.features(image, gates), model.features(image, IDS))
    with pytest.raises(UsageError, match="soft gates"):
        model(image, gates)
    with pytest.raises(UsageError, match="soft gates"):
        separate()(image, gates)


def test_plain_networks_have_original_keys_and_are_new_objects_in_eval_mode() -> None:
    model = joint()
    plain = model.plain_network("chest")
    assert list(plain.state_dict()) == [*Tiny().state_dict(), "head.weight", "head.bias"]
    assert not any(module.training for module in plain.modules())
    assert model.training
    assert type(plain) is Tiny
    assert {id(p) for p in plain.parameters()}.isdisjoint(id(p) for p in model.parameters())


@pytest.mark.parametrize("build", [joint, separate])
def test_what_does_not_fit_is_refused(build: object) -> None:
    model = build()  # type: ignore[operator]
    with pytest.raises(DataError, match="3 region indices for 6 images"):
        model(images(6), torch.tensor([0, 1, 2]))
    with pytest.raises(UsageError, match="unknown region 'liver'"):
        model(images(2), "liver")
    with pytest.raises(UsageError, match="unknown region 'liver'"):
        model.plain_network("liver")


def test_experts_and_model_must_agree_on_the_regions() -> None:
    backbone = Tiny()
    routing = add_experts_(backbone, ["knee", "brain", "chest"], ExpertConfig())
    with pytest.raises(UsageError, match="in its order: brain, chest, knee"):
        RegionalModel(backbone, REGIONS, routing=routing, **STATISTICS)
    with pytest.raises(UsageError, match="pass what add_experts_ returned"):
        RegionalModel(backbone, REGIONS, routing=Routing(REGIONS.names), **STATISTICS)
    with pytest.raises(UsageError, match="one per region"):
        SeparateModels({}, REGIONS)


def test_bfloat16_autocast_trains_every_part() -> None:
    model = joint().float()
    with model.scope(IDS), torch.autocast("cpu", dtype=torch.bfloat16):
        output = model(images().float(), IDS)
        sum(value.float().square().sum() for value in output.logits.values()).backward()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in model.parameters())
