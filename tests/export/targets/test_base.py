from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from lorkit.decompose.errors import ArtifactError
from lorkit.export.targets.base import Engine, Inputs, Outputs, SingleEngine, batches, joined, shapes_of


class Doubling(Engine):
    def infer(self, inputs: Inputs) -> Outputs:
        return {f"{name}_doubled": 2 * np.asarray(values) for name, values in inputs.items()}


class Tripling(SingleEngine):
    def run(self, batch: Any) -> Any:
        return 3 * batch


def test_one_output_is_what_run_returns_and_an_engine_of_one_input_infers_by_name() -> None:
    images = np.ones((2, 3), np.float32)
    np.testing.assert_array_equal(Doubling(None, "").run(images), 2 * images)
    found = Tripling(None, "").infer({"image": images})
    assert list(found) == ["logits"]
    np.testing.assert_array_equal(found["logits"], 3 * images)
    with pytest.raises(ArtifactError, match="closed"):
        Doubling(None, "")._opened()


@pytest.mark.parametrize("size", [1, 2, 5, 6])
def test_batches_keep_the_rows_of_all_inputs_together(size: int) -> None:
    whole = {"image": np.arange(10, dtype=np.float32).reshape(5, 2), "region": np.arange(5)}
    seen = []
    for part, inputs in batches(whole, size):
        assert 1 <= len(inputs["image"]) <= size
        np.testing.assert_array_equal(inputs["image"], whole["image"][part])
        seen.append(Doubling(None, "").infer(inputs))
    again = joined(seen)
    np.testing.assert_array_equal(again["image_doubled"], 2 * whole["image"])
    np.testing.assert_array_equal(again["region_doubled"], 2 * np.arange(5))


def test_shapes_in_words() -> None:
    image = np.zeros((2, 3))
    assert shapes_of({"image": image}) == "shape (2, 3)"
    assert shapes_of({"image": image, "region": np.zeros(2)}) == "image (2, 3), region (2,)"
