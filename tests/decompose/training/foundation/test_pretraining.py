"""A foundation is pretrained for its own image, which its users then see."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from small_methods import ONE, make_foundation

from lorkit.decompose import train
from lorkit.decompose.artifacts import exclusive
from lorkit.decompose.config import Config
from lorkit.decompose.errors import UsageError
from lorkit.decompose.evaluation.evaluation import evaluate
from lorkit.decompose.events import Event, Notice
from lorkit.decompose.models.foundation.model import load_foundation, save_foundation
from lorkit.decompose.runs import open_run
from lorkit.decompose.training import work_directory
from lorkit.decompose.training.foundation.pretraining import with_all_heads
from lorkit.decompose.training.foundation.resolving import resolve_foundation
from lorkit.decompose.training.training import pretrain


def test_a_foundation_is_pretrained_and_adopted_with_its_own_image(
    configured: Callable[..., Config], tmp_path: Path
) -> None:
    image = "{size: 32, channels: 3}"
    path = pretrain(configured(tmp_path, **{"foundation.image": image}), out=tmp_path / "foundations")
    assert path is not None
    own = load_foundation(path).image
    assert (tuple(own["size"]), own["channels"]) == ((32, 32), 3)
    given = configured(tmp_path, **{"foundation.weights": str(path)})
    assert resolve_foundation(given).foundation_image.channels == 3
    result = train(given, out=tmp_path / "runs")
    assert load_foundation(result.run / "foundation").image == own
    assert evaluate(open_run(result.run), model="foundation").to_json()["regions"]["chest"]["source"] == "own"
    with pytest.raises(UsageError, match=r"foundation.image.channels is 1, the foundation .* has 3"):
        resolve_foundation(
            configured(tmp_path, **{"foundation.weights": str(path), "foundation.image": "{channels: 1}"})
        )


def test_a_foundation_that_another_process_trains_is_waited_for(
    configured: Callable[..., Config], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(work_directory, "POLL_SECONDS", 0.01)
    config, out = configured(tmp_path), tmp_path / "foundations"
    first = pretrain(config, out=out)
    assert first is not None
    kept = first.rename(tmp_path / "finished")
    told = []

    def tell(event: Event) -> None:
        if isinstance(event, Notice) and "waiting" in event.text:
            told.append(event.text)
            kept.rename(first)  # the other process finishes
            busy.close()

    with ExitStack() as busy:
        busy.enter_context(exclusive(first))
        assert pretrain(config, out=out, on_event=tell) == first
    assert told == [f"another process is writing {first}: waiting for it"]


def test_adapted_foundations_are_deployed_at_their_own_image(configured: Callable[..., Config], tmp_path: Path) -> None:
    config = configured(tmp_path, method="linear-probe", **{"foundation.image": "{size: 32, channels: 3}"})
    run = open_run(train(config, out=tmp_path / "runs").run)
    assert run.config.deployed_image.size == (32, 32)
    assert evaluate(run).to_json()["regions"]["chest"]["n"] > 0


def test_a_foundation_of_more_regions_is_saved_with_the_heads_of_this_run(tmp_path: Path) -> None:
    config, known = make_foundation()  # of regions a and b
    image = {key: getattr(config.image, key) for key in ("size", "channels", "mean", "std")}
    narrowed = replace(known, regions=ONE, heads={"b": "own"}, image=image)
    found = with_all_heads(narrowed, ONE)
    assert set(found.model.heads) == {"b"}
    assert torch.equal(found.model.heads["b"].weight, known.model.heads["b"].weight)
    found.model.float()
    save_foundation(found, tmp_path / "foundation", synthetic=False, inputs="x")
    assert load_foundation(tmp_path / "foundation").regions.names == ("b",)
    assert with_all_heads(found, ONE) is found
