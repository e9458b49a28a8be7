"""Networks of several regions at the gate: region known, or found by the network itself."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from lorkit.cli.main import run_command_line
from lorkit.decompose.artifacts import read_json
from lorkit.decompose.documents.heads import CONFIDENCE, GATES, IMAGE, REGION, REGION_PROBABILITIES
from lorkit.decompose.errors import UsageError
from lorkit.decompose.runs import Run, export_directory
from lorkit.decompose.runs.locked_data import RunSplits
from lorkit.export.gating.gating import gate
from lorkit.export.gating.record import read_verdicts
from lorkit.export.runtime.exported import Exported


class Brightness(nn.Module):
    """Classes by the mean of the image, as the foundation by hand has them; regions by a constant and the noise.

    Args:
        shares: The probability of each region, whatever the image.
        silent: Share of the images without confidence, by the value of one pixel.
        region_given: Whether it takes the region, and finds none.
    """

    def __init__(
        self, shares: tuple[float, float] = (0.9, 0.1), *, silent: float = 0.0, region_given: bool = False
    ) -> None:
        super().__init__()
        self.shares, self.region_given = nn.Buffer(torch.tensor(shares)), region_given
        self.limit = float(torch.distributions.Normal(0.0, 12 / 255).icdf(torch.tensor(silent))) if silent else -9.0
        self.input_names = (IMAGE, REGION) if region_given else (IMAGE,)
        found = () if region_given else (REGION_PROBABILITIES, CONFIDENCE, GATES)
        self.output_names = ("logits_chest", "logits_knee", *found)

    def forward(self, image: Tensor, region: Tensor | None = None) -> tuple[Tensor, ...]:
        mean = image.mean((1, 2, 3))
        logits = torch.stack([20 * (0.5 - mean), 20 * (mean - 0.5)], 1)
        if region is not None:  # the head of another region says the opposite
            own = [(region == index)[:, None].float() * 2 - 1 for index in (0, 1)]
            return own[0] * logits, own[1] * logits
        shares = self.shares + 0 * logits
        confidence = (image[:, 0, 0, 0] - mean > self.limit).float()
        return logits, logits + 0.0, shares, confidence, shares[:, None]


def judged(run: Run, **options: Any) -> dict[str, Any]:
    """Judge in a time that decides no latency, unless it is stated."""
    options = {"max_seconds": 0.1, "max_accuracy_drop": 0.05, **options}
    return gate(run.path, **options).to_json()


def test_a_network_that_takes_the_region_is_judged_head_by_head_with_it(
    a_run: Run, export_mixture: Callable[..., Exported]
) -> None:
    exported = export_mixture("region-id", Brightness(region_given=True), run=a_run)
    document = judged(a_run, region="region-id", max_seconds=6.0)
    block = document["regions"]["region-id"]
    assert document["verdict"] == "pass", block["reasons"]
    assert list(block["head_verdicts"]) == ["chest", "knee"]
    for name, head in block["head_verdicts"].items():
        assert (head["verdict"], head["accuracy_test"]["drop"]) == ("pass", 0.0)
        assert head["baseline"]["path"] == str(
            export_directory(a_run, "foundation", name, "onnx", "cpu-generic", "fp32")
        )
        assert head["accuracy_test"]["n"] == len(RunSplits(a_run).part(name, "test"))
    assert block["candidate"]["path"] == str(exported.path)
    assert block["candidate"]["region"] == "region-id"
    assert block["latency_test"]["ratio"] < 1
    # the one has convolutions of 16 channels, the other the mean of an image
    pixels, costs = 16 * 16, block["deterministic"]["costs"]["macs"]
    assert (costs["baseline"], costs["candidate"]) == (9 * pixels * (16 + 12 * 16 * 16) + 2, 0)
    assert costs["verdict"] == "pass"
    assert any(text.startswith("chest: Balanced accuracy does not change") for text in block["reasons"])


def test_a_router_is_judged_without_the_region_and_its_worst_region_counts(
    a_run: Run, export_mixture: Callable[..., Exported]
) -> None:
    """It takes every image for the chest: its head for the knee never answers, however good it is."""
    export_mixture("router", Brightness(), run=a_run)
    block = judged(a_run, region="router")["regions"]["router"]
    assert {name: head["verdict"] for name, head in block["head_verdicts"].items()} == {"chest": "pass", "knee": "fail"}
    assert (block["verdict"], block["accuracy_test"]["verdict"], block["accuracy_test"]["drop"]) == (
        "fail",
        "fail",
        1.0,
    )
    knee = block["head_verdicts"]["knee"]["accuracy_test"]
    assert knee["candidate"] == 0.0
    assert knee["never_answered"] == {"candidate": ["dark", "bright"]}
    assert {flip["candidate"] for flip in knee["changed_answers"]} == {"no answer"}
    assert len(knee["changed_answers"]) == knee["n"]
    assert knee["changes"]["worsened"] == round(knee["baseline"] * knee["n"])
    assert any(text.startswith("knee: Balanced accuracy loses 1.000") for text in block["reasons"])
    silent = f"knee: {knee['n']} of {knee['n']} cases got no answer, or that of another region, which counts as wrong."
    assert silent in block["reasons"]
    assert not any(text.startswith("chest:") and "no answer" in text for text in block["reasons"])


def test_an_abstention_counts_as_a_wrong_answer(a_run: Run, export_mixture: Callable[..., Exported]) -> None:
    export_mixture("router", Brightness((0.9, 0.1), silent=0.2), run=a_run, abstain_below=0.5)
    heads = judged(a_run, region="router")["regions"]["router"]["head_verdicts"]
    test = RunSplits(a_run).part("chest", "test")
    images = np.asarray(test.images)
    answered_N = images[:, 0, 0, 0] - images.mean((1, 2, 3)) > Brightness(silent=0.2).limit
    by_class = [answered_N[test.labels == label].mean() for label in (0, 1)]
    assert heads["chest"]["accuracy_test"]["drop"] == pytest.approx(1 - np.mean(by_class), abs=1e-6)
    assert 0.1 < heads["chest"]["accuracy_test"]["drop"] < 0.3


def test_all_of_a_run_are_judged_together_and_kept(
    a_run: Run, export_mixture: Callable[..., Exported], capsys: pytest.CaptureFixture[str]
) -> None:
    export_mixture("router", Brightness(), run=a_run)
    export_mixture("region-id", Brightness(region_given=True), run=a_run)
    assert run_command_line(["gate", "--max-seconds", "1", "--max-accuracy-drop", "0.05,knee=0.5"]) == 1
    told = capsys.readouterr()
    assert "gate: FAIL" in told.out
    assert "router" in told.err
    document = read_verdicts(a_run)
    assert document is not None
    assert list(document.regions) == ["chest", "knee", "router", "region-id"]
    assert document.run_regions == 2
    assert document.headline == "FAIL"
    assert document.regions["router"].head_verdicts["knee"].accuracy_test.allowed == 0.5
    # all accuracy tests of the gate are one family: two of its regions, and two of each network for both
    tested = [document.regions["router"].head_verdicts["knee"].accuracy_test]
    assert tested[0].p_worse_holm == pytest.approx(6 * tested[0].p_worse)  # type: ignore[operator]
    gate(a_run.path, region="chest", max_seconds=0.1, max_accuracy_drop=0.05)
    again = read_json(a_run.measurements_dir / "gate.json", kind="gate")
    assert list(again["regions"]) == ["chest", "knee", "router", "region-id"]
    assert not again["regions"]["router"]["stale"]
    shutil.rmtree(export_directory(a_run, "foundation", "knee", "onnx", "cpu-generic", "fp32"))
    after = read_verdicts(a_run)
    assert after is not None
    assert {name: block.stale for name, block in after.regions.items()} == {
        "chest": False, "knee": True, "router": True, "region-id": True
    }  # fmt: skip


def test_a_headline_says_what_was_judged(a_run: Run, export_mixture: Callable[..., Exported]) -> None:
    export_mixture("region-id", Brightness(region_given=True), run=a_run)
    options: dict[str, Any] = {"max_seconds": 3.0, "max_accuracy_drop": 0.05}
    assert gate(a_run.path, region="region-id", **options).headline == "PASS for region-id"
    assert gate(a_run.path, region="chest,region-id", **options).headline == "PASS for 1 of 2 regions and region-id"


def test_without_the_foundation_of_every_region_it_is_undecided(
    a_run: Run, export_mixture: Callable[..., Exported]
) -> None:
    export_mixture("router", Brightness(), run=a_run)
    shutil.rmtree(export_directory(a_run, "foundation", "knee", "onnx", "cpu-generic", "fp32"))
    document = judged(a_run)
    assert document["regions"]["router"]["verdict"] == "inconclusive"
    assert "the foundation is not exported" in document["regions"]["router"]["reasons"][0]


def test_a_stored_router_is_the_baseline_of_the_next(
    a_run: Run, export_mixture: Callable[..., Exported], tmp_path: Path
) -> None:
    """Both find the regions themselves: a router that is no worse than the last one passes."""
    store = tmp_path / "store"
    first = export_mixture("router", Brightness(), run=a_run)
    judged(a_run, region="router", update_baseline=store, because="the first")
    export_mixture("router", Brightness((0.8, 0.2)), run=a_run)
    document = judged(a_run, region="router", baseline=store)
    block = document["regions"]["router"]
    assert block["baseline"]["digest"] == first.manifest.digest
    assert [head["accuracy_test"]["identical"] for head in block["head_verdicts"].values()] == ["outputs", "outputs"]
    assert block["head_verdicts"]["chest"]["verdict"] == "pass"
    assert block["head_verdicts"]["knee"]["verdict"] == "inconclusive"  # neither answers: a loss cannot be seen


def test_exports_that_cannot_be_paired_are_named(a_run: Run, export_mixture: Callable[..., Exported]) -> None:
    exported = export_mixture("router", Brightness(), run=a_run)
    chest = export_directory(a_run, "expert", "chest", "onnx", "cpu-generic", "fp32")
    with pytest.raises(UsageError, match=r"baseline of chest \(dark, bright\), candidate of router \(chest, knee\)"):
        gate(a_run.path, baseline=chest, candidate=exported.path)
    with pytest.raises(UsageError, match="decompose gate --region router, which compares each head"):
        gate(a_run.path, baseline=chest, candidate=exported.path)
    with pytest.raises(UsageError, match="no region 'router'"):
        gate(a_run.path, region="router", max_accuracy_drop={"*": 0.02, "router": 0.5})
    with pytest.raises(UsageError, match="unknown region 'rooter'"):
        gate(a_run.path, region="rooter")
