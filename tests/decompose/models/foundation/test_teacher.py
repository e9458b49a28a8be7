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
