"""The small stem: four times as wide grids, usual classes and keys, and where it is refused."""

from __future__ import annotations

import importlib.util

import pytest
import torch
from torch import nn

from lorkit.decompose.config import default_config
from lorkit.decompose.config.student import StudentConfig
from lorkit.decompose.errors import UsageError
from lorkit.decompose.methods import get_method
from lorkit.decompose.models.backbones.registry import build_backbone
from lorkit.decompose.models.backbones.stage_adapters import stage_shapes, staged
from lorkit.decompose.regions import Region, RegionSet
from lorkit.decompose.runs.live_model import build_model, deployed_backbone

timm_only = pytest.mark.skipif(importlib.util.find_spec("timm") is None, reason="timm is not installed")


@pytest.mark.parametrize(
    ("name", "size"),
    [
        ("resnet18", (32, 32)),
        ("resnet50", (16, 24)),
        ("resnet18_3d", (16, 16, 16)),
        ("densenet121", (16, 16)),
        ("shufflenet_v2_x1_0", (32, 32)),
        pytest.param("timm:resnet18", (32, 32), marks=timm_only),
    ],
)
def test_grids_are_those_of_images_four_times_as_wide(name: str, size: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    small = build_backbone(f"small-stem:{name}", channels=1, image_size=size).eval()
    with torch.device("meta"):
        usual = build_backbone(name, channels=1, image_size=tuple(4 * side for side in size))
    shape = (1, *size)
    assert small.image_shape == shape
    assert stage_shapes(small, shape) == stage_shapes(usual, usual.image_shape)
    assert type(small) is type(usual)
    own, theirs = ({key: value.shape for key, value in one.state_dict().items()} for one in (small, usual))
    assert list(own) == list(theirs)
    assert sum(own[key] != theirs[key] for key in own) == (name != "shufflenet_v2_x1_0")  # its kernel is 3 x 3 anyway
    x = torch.rand(2, *shape)
    with torch.no_grad():
        torch.testing.assert_close(staged(small).run_stages(x).features, small(x))


def test_the_first_stage_sees_every_pixel() -> None:
    """The stem of ResNet-18 is a 3 x 3 convolution, norm and activation, written down here once more."""
    torch.manual_seed(0)
    network = build_backbone("small-stem:resnet18", channels=3, image_size=(32, 32)).eval().double()
    x = torch.rand(1, 3, 32, 32, dtype=torch.float64)
    with torch.no_grad():
        windows = nn.functional.unfold(x, 3, padding=1)
        y = (network.conv1.weight.flatten(1) @ windows).view(1, 64, 32, 32)
        y = torch.relu(
            (y - network.bn1.running_mean.view(-1, 1, 1)) / (network.bn1.running_var + 1e-5).sqrt()[:, None, None]
        )
        torch.testing.assert_close(staged(network).first_grid(x)[0], network.layer1(y))


@pytest.mark.parametrize("name", ["vit_tiny", "unet", "ragformer", "mmoe-2:resnet18", "swinunetr"])
def test_backbones_without_a_small_stem_are_refused_in_one_line(name: str) -> None:
    size = (4, 4, 4) if name == "ragformer" else (32, 32)
    with pytest.raises(UsageError, match=rf"student\.stem small for backbone '{name}'") as caught:
        build_backbone(f"small-stem:{name}", channels=1, image_size=size)
    assert "\n" not in str(caught.value)


def test_the_setting_is_part_of_the_name_of_the_backbone() -> None:
    assert StudentConfig(backbone="resnet18").network == "resnet18"
    assert StudentConfig(backbone="resnet18", stem="small").network == "small-stem:resnet18"
    assert StudentConfig(backbone="small-stem:resnet18", stem="small").network == "small-stem:resnet18"
    for stated in ({"backbone": "resnet18", "stem": "small"}, {"backbone": "small-stem:resnet18"}):
        with pytest.raises(ValueError, match=r"student\.weights or student\.stem small, not both"):
            StudentConfig.model_validate({**stated, "weights": "x.pth"})


@pytest.mark.parametrize("method", ["stl", "mtl", "mmoe", "lorkd", "rd", "mola-router"])
def test_every_method_builds_and_deploys_it(method: str) -> None:
    regions = RegionSet([Region(name="a", classes=("x", "y"))])
    sizes = ("image.size=32", "student.stem=small", "lorkd.rank=2", "mola.rank=2", "mmoe.experts=2")
    config = default_config(overrides=["regions={a: {data: x}}", *sizes], method=method)
    live = build_model(config, regions)
    convolutions = [one for name, one in live.named_modules() if name.endswith("conv1.base") or name.endswith("conv1")]
    first = next(one for one in convolutions if getattr(one, "in_channels", 0) == config.image.channels)
    assert (first.kernel_size, first.stride) == ((3, 3), (1, 1))
    assert deployed_backbone(config).endswith("small-stem:resnet18")
    assert get_method("finetune").deployed_backbone(config) == config.foundation.backbone
