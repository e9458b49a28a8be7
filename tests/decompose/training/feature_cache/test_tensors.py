from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from lorkit.decompose.errors import UsageError
from lorkit.decompose.models.foundation.teacher import TeacherFeatures
from lorkit.decompose.training.feature_cache.tensors import join, layouts_of, tensors_of


@pytest.mark.parametrize("memory", [torch.contiguous_format, torch.channels_last])
def test_an_answer_comes_back_in_its_own_memory_order(memory: torch.memory_format) -> None:
    grid = torch.randn(3, 4, 5, 6).to(memory_format=memory)
    answer = TeacherFeatures((grid,), torch.randn(3, 7))
    layout = layouts_of(answer, ["a"], "fp32")["a"]
    stored = {name: part.pack(tensors_of(answer, ["a"])["a"][name]) for name, part in layout.items()}
    assert stored["grid0"].shape[1:] == layout["grid0"].stored_shape
    assert layout["grid0"].bytes == 4 * 4 * 5 * 6
    back = {name: part.unpack(stored[name]) for name, part in layout.items()}
    found = join({"a": back}, TeacherFeatures, None, SimpleNamespace())  # type: ignore[arg-type]
    assert torch.equal(found.grids[0], grid)
    assert found.grids[0].stride() == grid.stride()
    assert torch.equal(found.features, answer.features)


def test_stored_precision_rounds_and_is_never_wider_than_the_answer() -> None:
    features = torch.tensor([[1.001], [2.0]])
    (part,) = layouts_of(TeacherFeatures((), features), ["a"], "bf16")["a"].values()
    assert torch.equal(part.unpack(part.pack(features)), features.bfloat16().float())
    (narrow,) = layouts_of(TeacherFeatures((), features.half()), ["a"], "fp32")["a"].values()
    assert narrow.stored == torch.float16
    (half,) = layouts_of(TeacherFeatures((), features), ["a"], "fp16")["a"].values()
    with pytest.raises(UsageError, match="exceed 65504"):
        half.pack(features * 1e5)


def test_an_answer_of_another_kind_is_refused() -> None:
    with pytest.raises(UsageError, match="a teacher's output of type dict"):
        tensors_of({"features": torch.zeros(1)}, ["a"])
