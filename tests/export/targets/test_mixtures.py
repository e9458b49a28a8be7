"""Networks with several inputs and outputs on the targets that take them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from mixtures import REGIONS, RegionIdNetwork, RouterNetwork, mixture_of
from torch import nn

from lorkit import profiles
from lorkit.decompose.artifacts import read_json
from lorkit.decompose.documents.heads import MIXTURES
from lorkit.decompose.errors import ArtifactError
from lorkit.export.onnx.conversion import to_onnx
from lorkit.export.targets import MODEL, TARGETS, get_target
from lorkit.export.targets.base import BuildRequest, Inputs, batches, joined

NETWORKS = {"router": RouterNetwork, "region-id": RegionIdNetwork}


@pytest.fixture
def request_for(build_request: Callable[..., BuildRequest]) -> Callable[..., BuildRequest]:
    """Return a function that makes the build request of a network with two heads."""

    def make(directory: Path, form: str, profile: str = "cpu-generic") -> BuildRequest:
        network = NETWORKS[form]().eval()
        to_onnx(network, directory / MODEL, channels=1, size=(16, 16), metadata={})
        about = build_request(directory, mixture=mixture_of(form), region=form)  # type: ignore[arg-type]
        return replace(about, network=network, profile=profiles.load(profile))

    return make


def given(form: str, count: int) -> dict[str, np.ndarray]:
    random = np.random.default_rng(count)
    image = random.random((count, 1, 16, 16), dtype=np.float32)
    return {"image": image} | ({"region": random.integers(2, size=count)} if form == "region-id" else {})


def expected(network: nn.Module, inputs: Inputs) -> dict[str, np.ndarray]:
    with torch.no_grad():
        found = network(*(torch.from_numpy(np.array(values)) for values in inputs.values()))
    return {name: values.numpy() for name, values in zip(network.output_names, found, strict=True)}  # type: ignore[arg-type]


@pytest.mark.parametrize("target", ["onnx", "openvino"])
@pytest.mark.parametrize("form", NETWORKS)
def test_every_output_is_there_at_every_batch(
    target: str, form: str, tmp_path: Path, request_for: Callable[..., BuildRequest]
) -> None:
    if not get_target(target).available().ok:
        pytest.skip(f"needs {target}")
    request = request_for(tmp_path, form)
    get_target(target).build(request)
    whole, results = given(form, 17), {}
    with get_target(target).load(tmp_path, threads=1) as engine:
        for size in (1, 3, 8, 17):
            results[size] = joined([engine.infer(part) for _, part in batches(whole, size)])
        with pytest.raises(ArtifactError, match="image"):
            engine.infer({**given(form, 2), "image": np.zeros((2, 3, 16, 16), np.float32), "region": np.zeros(2)})
    for found in results.values():
        assert list(found) == list(request.network.output_names)
        for name, wanted in expected(request.network, whole).items():
            np.testing.assert_allclose(found[name], wanted, atol=1e-5)


@pytest.mark.parametrize("form", NETWORKS)
def test_tensorrt_rtx_builds_with_a_range_of_batches_for_each_input(
    form: str, tmp_path: Path, request_for: Callable[..., BuildRequest]
) -> None:
    pytest.importorskip("tensorrt_rtx", reason="needs the extra tensorrt-rtx")
    target, ada = get_target("trt-rtx"), "rtx-ada"
    assert target.build(request_for(tmp_path, form, ada)).read_bytes()[:4] == b"vtrt"
    batch = profiles.load(ada).batch_sizes
    wanted = [[count, 1, 16, 16] for count in (batch.min, batch.opt, batch.max)]
    assert read_json(tmp_path / "engine.json")["batch_shapes"] == wanted


def test_the_targets_that_take_several_inputs_and_outputs() -> None:
    takers = {form: [name for name, target in TARGETS.items() if form in target.forms] for form in MIXTURES}
    assert takers["router"] == ["onnx", "openvino", "trt", "trt-rtx"]
    assert takers["region-id"] == ["onnx", "onnx-adapters", "openvino", "trt", "trt-rtx"]
    assert len(REGIONS) == 2
