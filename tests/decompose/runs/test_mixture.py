"""Networks of several regions, read back."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from resealing import reseal
from small_runs import mixed_images

from lorkit.decompose.artifacts import verify_chain
from lorkit.decompose.errors import ArtifactError
from lorkit.decompose.models.regional import RegionalModel
from lorkit.decompose.models.routed import RoutedModel
from lorkit.decompose.runs import Run
from lorkit.decompose.runs.extracted import is_mixture
from lorkit.decompose.runs.mixture import load_mixture
from lorkit.decompose.runs.networks import RunNetworks


def test_a_region_id_network_is_read_back_and_equals_the_trained_model(by_id_run: Run) -> None:
    loaded = load_mixture(by_id_run.experts_dir / "region-id")
    assert is_mixture(loaded.path)
    assert set(loaded.manifest.files) == {"model.safetensors", "model.pt2", "expert.json", "README.md"}
    assert [manifest.kind for manifest in verify_chain(loaded.path)] == ["mixture", "run"]
    assert loaded.region.name == loaded.info.mixture.form == "region-id"
    assert [head.region for head in loaded.info.mixture.heads] == list(by_id_run.regions.names)
    assert loaded.info.mixture.output_names == loaded.network.output_names
    assert loaded.info.parameters == sum(value.numel() for value in loaded.network.parameters())
    assert loaded.info.cases_by_region["chest"]["train"] > 0
    assert loaded.info.prediction is None
    image, region = mixed_images(by_id_run)
    live = RunNetworks(by_id_run).live
    assert isinstance(live, RegionalModel)
    with torch.no_grad():
        expected, found = live(image, region), loaded.network(image, region)
    for name, logits in zip(by_id_run.regions.names, found, strict=True):
        torch.testing.assert_close(logits[expected.rows[name]], expected.logits[name], rtol=1e-4, atol=1e-5)
        assert loaded.info.equality_by_region[name].max_abs_difference < loaded.info.equality_by_region[name].tolerance
        assert loaded.info.equality_by_region[name].label_flips == 0


def test_a_router_is_read_back_and_equals_the_trained_model(routed_run: Run) -> None:
    loaded = load_mixture(routed_run.experts_dir / "router")
    mixture = loaded.info.mixture
    assert (mixture.form, mixture.policy, mixture.abstain_below) == ("router", "routed", 0.5)
    assert mixture.output_names == loaded.network.output_names
    assert loaded.info.gated_layers.gating is not None
    assert loaded.info.gated_layers.gating.groups == 4
    prediction = loaded.info.prediction
    assert prediction is not None
    assert list(prediction.confusion_by_region) == list(routed_run.regions.names)
    image, _ = mixed_images(routed_run)
    live = RunNetworks(routed_run).live
    assert isinstance(live, RoutedModel)
    with torch.no_grad():
        found = dict(zip(loaded.network.output_names, loaded.network(image), strict=True))
        heads, (gating, regions) = live.every_head(image).logits, live.gate(image)
    for name, logits in heads.items():
        torch.testing.assert_close(found[f"logits_{name}"], logits, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(found["gates"], gating.gates, rtol=1e-4, atol=1e-5)
    assert found["region_probabilities"].argmax(1).tolist() == regions.argmax(1).tolist()


def test_a_description_of_other_layers_is_refused(by_id_run: Run, tmp_path: Path) -> None:
    path = by_id_run.experts_dir / "region-id"
    text = (path / "expert.json").read_text()
    copy = Path(shutil.copytree(path, tmp_path / "copy"))
    (copy / "expert.json").write_text(text.replace('"blocks.0.conv"', '"blocks.7.conv"'))
    reseal(copy)
    with pytest.raises(ArtifactError, match="does not describe a network"):
        load_mixture(copy)
    with pytest.raises(ArtifactError, match="mixture"):
        load_mixture(by_id_run.path)
