"""The names of `lorkit` itself: few, imported on first use."""

from __future__ import annotations

import re
import runpy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from small_runs import register_tiny, small_config

import lorkit
from lorkit.decompose.events import Event, Finished, Saved, Started, Step, Validated

PAGE = Path(__file__).parent.parent / "docs" / "python.md"


def test_public_names_are_those_of_their_modules() -> None:
    from lorkit.decompose import train
    from lorkit.export.prediction.predictor import load_expert

    assert lorkit.load_expert is load_expert
    assert lorkit.train is train
    assert all(callable(getattr(lorkit, name)) for name in lorkit.__all__)


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="'lorkit' has no attribute 'load_experts'"):
        lorkit.load_experts  # noqa: B018


def test_the_page_runs_as_written_and_lists_the_events_that_come(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    register_tiny(monkeypatch.setitem)
    small_config(tmp_path)
    monkeypatch.chdir(tmp_path)
    seen: list[Event] = []
    train = lorkit.train

    def watched(config: Any, *, on_event: Any) -> Any:
        return train(config, on_event=lambda event: (seen.append(event), on_event(event)))

    monkeypatch.setattr(lorkit, "train", watched, raising=False)
    text = PAGE.read_text(encoding="utf-8")
    script = tmp_path / "page.py"
    script.write_text("".join(re.findall(r"^```python\n(.*?)^```", text, re.M | re.S)), encoding="utf-8")
    names = runpy.run_path(str(script))
    kinds = [type(event) for event in seen]
    order = [kinds.index(kind) for kind in (Started, Step, Validated, Finished)]
    assert order == sorted(order)
    assert Saved in kinds
    listed = set(re.findall(r"^\| `(\w+)` \| .* \| .* \|$", text.split("## Arrays in")[0], re.M))
    assert {kind.__name__ for kind in kinds} <= listed
    for event in seen:
        (fields,) = re.findall(rf"^\| `{type(event).__name__}` \|[^|]*\| (.*) \|$", text, re.M)
        assert set(re.findall(r"`(\w+)`", fields)) <= set(vars(event))
    assert names["found"].probabilities.shape == (4, 2)
    np.testing.assert_allclose(
        names["found"].outputs["logits"],
        names["engine"].predict(names["images"], allow_out_of_region=True).outputs["logits"],
        atol=1e-4,
    )
    assert "<td>chest</td>" in names["evaluation"]._repr_html_()
    assert "epochs of" in capsys.readouterr().out
