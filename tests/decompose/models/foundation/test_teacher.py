"""A teacher of the user is asked before any data, and frozen whatever its class says."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from lorkit.decompose.config import ImageConfig
from lorkit.decompose.errors import UsageError
from lorkit.decompose.models.backbones.outputs import gives_maps
from lorkit.decompose.models.foundation.teacher import (
    TeacherBackbone,
    TeacherFeatures,
    freeze_,
    teacher_name,
    weights_digest,
)
from lorkit.decompose.models.regional import RegionalModel
from lorkit.decompose.regions import Region, RegionSet


class Stubborn(nn.Module):
    """One convolution and dropout, whose `train` and `eval` bring the dropout to life."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.image = ImageConfig(size=(24, 24), channels=1)
        self.layer, self.dropout = nn.Conv2d(1, 6, 3, 2, 1), nn.Dropout(0.5)
        self.digest = weights_digest(self)

    def train(self, mode: bool = True) -> Stubborn:
        return super().train(True)

    def features(self, image: Tensor) -> TeacherFeatures:
        grid = self.dropout(self.layer(image))
        return TeacherFeatures((grid,), grid.mean((2, 3)))


class Holder:
    """A teacher that is no module and holds one."""

    image, digest = ImageConfig(size=(24, 24), channels=1), "ab" * 32

    def __init__(self) -> None:
        self.inner = Stubborn()

    def features(self, image: Tensor) -> TeacherFeatures:
        return self.inner.features(image)


def test_a_teacher_is_asked_before_any_data(monkeypatch: pytest.MonkeyPatch) -> None:
    teacher = Stubborn()
    found = TeacherBackbone(teacher)
    assert (found.feature_dim, gives_maps(found), found.stages) == (6, False, ((6, 12, 12),))
    teacher.image = ImageConfig(size=(24, 20), channels=3, mean=(0.1, 0.2, 0.3), std=(0.5, 0.6, 0.7))
    with pytest.raises(UsageError, match=r"cannot process images 3 x 24 x 20"):
        TeacherBackbone(teacher)
    monkeypatch.setattr(Stubborn, "features", lambda self, image: TeacherFeatures((), image.mean((1, 2, 3))))
    with pytest.raises(UsageError, match=r"features \(2, F\)"):
        TeacherBackbone(teacher)


@pytest.mark.parametrize("make", [Stubborn, Holder])
def test_what_is_frozen_answers_alike_and_takes_no_gradient(make: type[Stubborn] | type[Holder]) -> None:
    backbone = TeacherBackbone(make())
    assert backbone.has_modules
    backbone.train()
    image = torch.rand(2, 1, 24, 24)
    freeze_(backbone)
    assert torch.equal(backbone(image), backbone(image))
    assert not any(parameter.requires_grad for parameter in backbone.parameters())
    assert not any(module.training for module in backbone.modules())


def test_the_digest_is_that_of_the_weights() -> None:
    teacher = Stubborn()
    assert weights_digest(Stubborn()) == teacher.digest
    assert teacher_name(teacher) == f"teacher:{teacher.digest[:16]}"
    with torch.no_grad():
        teacher.layer.bias.add_(1)  # type: ignore[union-attr]
    assert weights_digest(teacher) != teacher.digest


class OfPixels(Stubborn):
    """The same convolution without a stride: features of every pixel."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Conv2d(1, 6, 3, padding=1)

    def features(self, image: Tensor) -> TeacherFeatures:
        return TeacherFeatures((), self.layer(image))


def test_a_teacher_of_maps_teaches_classes_by_their_mean() -> None:
    regions = RegionSet(
        [Region(name="a", classes=("x", "y")), Region(name="b", classes=("lesion",), task="segmentation")]
    )
    model = RegionalModel(TeacherBackbone(OfPixels()), regions, mean=[0.5], std=[0.5]).eval()
    image = torch.rand(4, 1, 24, 24)
    with torch.no_grad():
        output = model(image, torch.tensor([1, 0, 1, 0]))
        maps = model.backbone(model.normalise(image))
        torch.testing.assert_close(output.features["b"], maps[[0, 2]])
        torch.testing.assert_close(output.features["a"], maps[[1, 3]].mean((2, 3)))
        for name, rows in output.rows.items():
            torch.testing.assert_close(model.deployable(name)(image[rows]), output.logits[name])
    with pytest.raises(UsageError, match="a teacher of pooled features"):
        RegionalModel(TeacherBackbone(Stubborn()), regions, mean=[0.5], std=[0.5])
