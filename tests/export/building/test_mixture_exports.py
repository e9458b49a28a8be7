"""Exports of networks with several heads: built from networks by hand, on the images of a real run."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from mixtures import RegionIdNetwork
from torch import Tensor

from lorkit.decompose.artifacts import read_json, read_manifest
from lorkit.decompose.documents.heads import MixtureForm
from lorkit.decompose.errors import DataError, ParityError
from lorkit.decompose.runs import open_run
from lorkit.decompose.runs.locked_data import RunSplits
from lorkit.export.runtime.engine import load_engine
from lorkit.export.runtime.exported import Exported
from lorkit.export.targets import get_target


@pytest.mark.parametrize("target", ["onnx", "openvino"])
@pytest.mark.parametrize("form", ["router", "region-id"])
def test_every_output_is_proven_on_images_of_all_regions_together(
    target: str, form: MixtureForm, export_mixture: Callable[..., Exported]
) -> None:
    if not get_target(target).available().ok:
        pytest.skip(f"needs {target}")
    exported = export_mixture(form, target=target, abstain_below=0.3)
    parity, mixture = exported.info.parity, exported.info.mixture
    assert mixture is not None
    assert parity.status == "passed"
    assert (parity.batches, parity.inputs) == ([1, 3, 8, 17], "real")
    assert set(parity.by_output) == set(exported.info.output_names)
    assert all(figures.label_flips == 0 for figures in parity.by_output.values())
    assert [head.region for head in mixture.heads] == ["chest", "knee"]
    assert mixture.abstain_below == 0.3
    assert exported.key == (form, target, "cpu-generic", "fp32")
    with load_engine(exported.path) as engine, np.load(exported.path / "samples.npz") as stored:
        found = engine.infer({name: stored[name] for name in exported.info.inputs})
        for name in exported.info.output_names:
            np.testing.assert_allclose(found[name], stored[name], atol=1e-4)
    notes = {one.key: one.value for one in onnx.load(exported.path / "model.onnx").metadata_props}
    assert (
        json.loads(notes["lorkit.mixture"])
        == json.loads(json.dumps(read_json(exported.path / "export.json")))["mixture"]
    )
    assert read_manifest(exported.path).extra["region"] == form


def test_what_it_is_compared_on_are_validation_images_of_each_region_in_turn(
    export_mixture: Callable[..., Exported], monkeypatch: pytest.MonkeyPatch
) -> None:
    from lorkit.export.building import builder

    seen: list[Any] = []
    measure = builder.measure_outputs
    monkeypatch.setattr(builder, "measure_outputs", lambda *a, **k: seen.append(a[1]) or measure(*a, **k))
    exported = export_mixture("region-id", anew=True)
    (inputs,) = seen
    splits = RunSplits(open_run(exported.path.parents[2]))
    parts = [splits.part(name, "val") for name in ("chest", "knee")]
    assert set(inputs["region"].tolist()) == {0, 1}
    assert inputs["region"][:2].tolist() == [0, 1]
    for image, region in zip(inputs["image"], inputs["region"], strict=True):
        assert any(np.array_equal(image, other) for other in parts[region].images)


class Crossed(RegionIdNetwork):
    """The heads of two regions change places in batches other than the traced one."""

    def forward(self, image: Tensor, region: Tensor) -> tuple[Tensor, ...]:
        found = super().forward(image, region)
        return found[::-1] if torch.compiler.is_exporting() else found


def test_an_engine_with_heads_in_another_order_is_no_export(export_mixture: Callable[..., Exported]) -> None:
    with pytest.raises(ParityError, match="other values of 'logits_chest'"):
        export_mixture("region-id", Crossed())


@pytest.mark.parametrize("form", ["router", "region-id"])
@pytest.mark.parametrize("precision", ["fp16", "int8"])
def test_lower_precisions_are_measured_by_head(
    form: MixtureForm, precision: str, export_mixture: Callable[..., Exported]
) -> None:
    exported = export_mixture(form, precision=precision, abstain_below=0.1)
    parity = exported.info.parity
    assert parity.status == "passed"
    assert exported.info.lowering is not None
    assert set(parity.by_output) == set(exported.info.output_names)
    assert parity.by_output["logits_chest"].max_abs != 0
    if precision == "int8":
        assert exported.info.lowering.calibration is not None
        assert exported.info.lowering.calibration.inputs == "real"


@pytest.mark.parametrize(
    ("inputs", "says"),
    [
        ({"image": np.zeros((2, 1, 16, 16), np.float32)}, "the inputs image; required: image, region"),
        ({"region": np.array([0, 1])}, "the inputs region; required: image, region"),
        ({"region": np.array([0, 2])}, r"int64 with shape \(2,\): \[0, 2\].*each one of 0 chest, 1 knee"),
        ({"region": np.array([-1, 0])}, r"\[-1, 0\]"),
        ({"region": np.array([0])}, r"shape \(1,\).*required: int64 of shape \(2,\)"),
        ({"region": np.array([0.0, 1.0])}, "regions of float64"),
        ({"image": np.zeros((2, 3, 16, 16), np.float32), "region": np.array([0, 1])}, "with 1 channel"),
    ],
)
def test_inputs_that_the_network_does_not_take_are_one_line(
    inputs: dict[str, np.ndarray], says: str, export_mixture: Callable[..., Exported]
) -> None:
    whole = {"image": np.zeros((2, 1, 16, 16), np.float32)} | inputs
    alone = len(inputs) == 1 and "region; required" in says
    given = inputs if alone or "image; required" in says else whole
    with load_engine(export_mixture("region-id").path) as engine, pytest.raises(DataError, match=says) as caught:
        engine.infer(given)
    assert "\n" not in str(caught.value)
