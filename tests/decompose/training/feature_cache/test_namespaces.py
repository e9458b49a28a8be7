from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import torch
from torch import nn

from lorkit.decompose.config import TrainConfig
from lorkit.decompose.data import PreparedRegion
from lorkit.decompose.models.foundation.teacher import TeacherFeatures
from lorkit.decompose.training.feature_cache.namespaces import cache_key, namespace_of, teacher_digest
from lorkit.decompose.training.feature_cache.tensors import layouts_of

LAYOUT = layouts_of(TeacherFeatures((torch.zeros(2, 3, 4, 4),), torch.zeros(2, 5)), ["a"], "fp32")["a"]


def test_what_decides_a_feature_names_the_space_and_nothing_else_does(
    make_prepared: Callable[..., PreparedRegion],
) -> None:
    prepared = make_prepared(2)

    def name(weights: str = "w", *, seed: int = 0, **train: Any) -> str:
        foundation: Any = SimpleNamespace(backbone="tiny", image={"size": (16, 16)})
        settings = TrainConfig.model_validate(train)
        space = namespace_of(
            weights, foundation, (prepared, prepared), LAYOUT, settings, seed=seed, device=torch.device("cpu")
        )
        assert space.sample_bytes == 4 * (3 * 4 * 4 + 5)
        return space.name

    plain = name()
    assert name(epochs=7, lr=0.5) == plain
    assert name(augment={"views": 3}) == plain, "the first of many views is the first of few"
    others = [
        name("v"),
        name(seed=1),
        name(precision="bf16"),
        name(augment={"rotate": 3}),
        name(augment={"random": {}}),
    ]
    others.append(name(augment=None))
    assert len({plain, *others}) == 7
    assert name(augment=None, seed=1) == others[-1], "without augmentation the seed draws nothing"


def test_heads_do_not_count_for_the_digest_of_a_teacher() -> None:
    torch.manual_seed(0)
    model = nn.ModuleDict({"backbone": nn.Linear(2, 2), "heads": nn.ModuleDict({"a": nn.Linear(2, 2)})})
    foundation: Any = SimpleNamespace(model=model, is_teacher=False, digest="ab")
    before = teacher_digest(foundation)
    with torch.no_grad():
        model["heads"]["a"].weight.add_(1)  # type: ignore[index]
    assert teacher_digest(foundation) == before
    foundation.is_teacher = True
    assert teacher_digest(foundation) != before, "a teacher of the user states a digest of its own"
    foundation.is_teacher = False
    with torch.no_grad():
        model["backbone"].bias.add_(1)
    assert teacher_digest(foundation) != before


def test_keys_tell_pictures_and_views_apart() -> None:
    keys = {cache_key(content * 32, view) for content in ("ab", "cd") for view in (0, 1, 256)}
    assert len(keys) == 6
    assert {len(key) for key in keys} == {36}
