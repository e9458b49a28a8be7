from __future__ import annotations

import pytest
import torch

from lorkit.decompose.artifacts import read_json, write_json
from lorkit.decompose.errors import ArtifactError
from lorkit.decompose.runs import Run
from lorkit.decompose.runs.networks import RunNetworks


def test_student_and_expert_equal_the_live_model_with_experts_off_and_on(small_run: Run) -> None:
    networks = RunNetworks(small_run)
    image = torch.rand(3, 1, 16, 16)
    with torch.no_grad():
        on = networks.live(image, "knee").logits["knee"]
        with networks.live.routing.without_experts():
            off = networks.live(image, "knee").logits["knee"]
        torch.testing.assert_close(networks.expert("knee")(image), on, atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(networks.student("knee")(image), off, atol=1e-5, rtol=1e-5)
        assert (on - off).abs().max() > 1e-3
        torch.testing.assert_close(networks.live(image, "knee").logits["knee"], on)  # the live model was not touched


def test_the_foundation_has_its_own_head_a_region(small_run: Run) -> None:
    networks = RunNetworks(small_run)
    assert networks.foundation("chest")(torch.rand(2, 1, 16, 16)).shape == (2, 2)
    assert networks.foundation("knee")(torch.rand(2, 1, 16, 16)).shape == (2, 3)


def test_a_foundation_without_a_head_says_so(small_run: Run) -> None:
    networks = RunNetworks(small_run)
    networks.foundation_model.heads.pop("knee")  # type: ignore[attr-defined]
    with pytest.raises(ArtifactError, match="no head for region 'knee'; required: one of chest"):
        networks.foundation("knee")


def test_a_tampered_foundation_is_refused(small_run: Run) -> None:
    path = small_run.foundation_dir / "foundation.json"
    write_json(path, {**read_json(path), "heads": {}})
    with pytest.raises(ArtifactError, match="has changed"):
        RunNetworks(small_run).foundation("chest")
