"""The time from a file to an answer: every stage is timed, on a drawn or a given file, of pictures and of volumes."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from mixtures import mixture_of
from PIL import Image

from lorkit.decompose.documents.export import ExportedNetwork
from lorkit.decompose.documents.heads import MixtureForm
from lorkit.decompose.documents.network import Decision
from lorkit.decompose.documents.recipe import VERSIONS, Recipe
from lorkit.decompose.errors import DataError
from lorkit.decompose.regions import Region
from lorkit.export.benchmarking import end_to_end as module
from lorkit.export.benchmarking.end_to_end import end_to_end
from lorkit.export.runtime.engine import load_engine
from lorkit.export.targets.base import Engine, Inputs, Outputs, SingleEngine


def exported(size: tuple[int, ...], task: str = "classification", channels: int = 1, **more: Any) -> Any:
    recipe = Recipe.model_validate({
        "version": VERSIONS[len(size)],
        **({"axes": "RAS"} if len(size) == 3 else {}),
        "steps": [
            {"op": "intensity", "rule": "dtype"} if len(size) == 2
            else {"op": "intensity", "rule": "percentile", "low": 0.5, "high": 99.5},
            {"op": "resize", "size": list(size), "filter": "bilinear" if len(size) == 2 else "trilinear"},
            {"op": "channels", "count": channels},
            {"op": "normalise", "mean": [0.5] * channels, "std": [0.25] * channels},
        ],
    })  # fmt: skip
    facts = {"owner": "expert", "region": "chest", "task": task, "classes": ["healthy", "ill"], "recipe": recipe}
    return SimpleNamespace(recipe=recipe, shape=(channels, *size), info=ExportedNetwork.model_validate(facts | more))


class Seen(SingleEngine):
    """An engine that remembers what it was given."""

    def __init__(self, outputs: tuple[int, ...]) -> None:
        super().__init__(None, "")
        self.outputs, self.batches = outputs, []  # type: tuple[int, ...], list[Any]

    def run(self, batch: Any) -> Any:
        self.batches.append(batch)
        return np.zeros((len(batch), *self.outputs), np.float32)


def ticking(step: float) -> Any:
    """A clock that moves on by `step` seconds whenever it is read."""
    now = iter(range(10**6))
    return lambda: next(now) * step


@pytest.mark.usefixtures("timed_as_usual")
@pytest.mark.parametrize("channels", [1, 3])
def test_a_drawn_picture_goes_through_every_stage(channels: int) -> None:
    engine = Seen((2,))
    found = end_to_end(exported((16, 16), channels=channels), engine, clock=ticking(0.001))
    assert [found.read_ms, found.prepare_ms, found.engine_ms, found.answer_ms] == pytest.approx([1.0] * 4)
    assert found.total_ms == pytest.approx(4.0)
    assert found.input == "drawn png, 512 x 512" + (" x 3" if channels == 3 else "")
    assert found.n == 25  # five milliseconds a round: the most there are, well within two seconds
    assert len(engine.batches) == 1 + found.n
    assert engine.batches[0].shape == (1, channels, 16, 16)
    assert 0 <= engine.batches[0].min() < engine.batches[0].max() <= 1


def test_a_slow_image_is_timed_a_few_times_all_the_same() -> None:
    found = end_to_end(exported((16, 16)), Seen((2,)), clock=ticking(3.0))
    assert found.n == 5


def test_a_drawn_volume_and_its_mask() -> None:
    engine = Seen((3, 8, 8, 8))
    found = end_to_end(exported((8, 8, 8), "segmentation"), engine, clock=ticking(0.1))
    assert found.input == "drawn nii, 16 x 16 x 16"
    assert engine.batches[0].shape == (1, 1, 8, 8, 8)


def test_a_users_file(tmp_path: Path) -> None:
    path = tmp_path / "own.png"
    Image.fromarray(np.arange(600, dtype=np.uint16).reshape(20, 30).astype(np.uint8)).save(path)
    found = end_to_end(exported((16, 16)), Seen((2,)), path, seconds=0.01)
    assert found.input == "own.png, 20 x 30"
    assert found.total_ms >= max(found.read_ms, found.prepare_ms, found.engine_ms, found.answer_ms) > 0
    path.write_bytes(b"no picture")
    with pytest.raises(DataError):
        end_to_end(exported((16, 16)), Seen((2,)), path)


def test_labels_are_answered_by_their_thresholds() -> None:
    decision = Decision(policy="youden", thresholds={"healthy": 0.4, "ill": None})
    one = exported((16, 16), "multilabel", decision=decision)
    assert end_to_end(one, Seen((2,)), seconds=0.01).total_ms > 0


@pytest.mark.parametrize("form", ["router", "region-id"])
def test_a_network_of_several_regions_answers_with_one_of_its_heads(
    form: MixtureForm, monkeypatch: pytest.MonkeyPatch
) -> None:
    answered: list[tuple[str, list[float]]] = []

    def note(region: Region, outputs: Any, top: int) -> None:
        answered.append((region.name, outputs[0].tolist()))

    class Heads(Engine):
        def infer(self, inputs: Inputs) -> Outputs:
            assert tuple(inputs) == mixture_of(form).inputs
            found = {"logits_chest": [1, 2], "logits_brain": [3, 4, 5], "region_probabilities": [0.1, 0.9]}
            found |= {"confidence": 0.0, "gates": [[0.5, 0.5]]}
            return {name: np.float32([values]) for name, values in found.items()}

    monkeypatch.setattr(module, "most_probable", note)
    one = exported((16, 16), region=form, mixture=mixture_of(form, abstain_below=0.5))
    assert end_to_end(one, Heads(None, ""), seconds=0.01).n >= 5
    assert answered[0] == (("brain", [3, 4, 5]) if form == "router" else ("chest", [1, 2]))


def test_a_volume_at_a_spacing_goes_window_by_window(windowed: Path) -> None:
    """A drawn volume has twice the sides of a window at the spacing of the recipe: 27 windows overlap by a quarter."""
    with load_engine(windowed, threads=1) as engine:
        found = end_to_end(engine.exported, engine)
    assert found.input == "drawn nii, 32 x 32 x 32"
    assert found.n == 1
    assert found.volume is not None
    assert found.volume.windows == 27
    assert found.volume.stage_seconds["write"] > 0
    parts = (found.read_ms, found.prepare_ms, found.engine_ms, found.answer_ms)
    assert min(parts) > 0
    assert found.total_ms == pytest.approx(sum(parts))
    assert min(found.volume.predicted_peak_mib, found.volume.peak_mib) > 0
