"""One base and an adapter file per region, against the merged network of each region."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from lorkit import profiles
from lorkit.decompose.errors import ArtifactError, UsageError
from lorkit.decompose.models.regional import RegionalModel
from lorkit.export.building.packaging import READER, write_reader
from lorkit.export.targets import examples, get_target
from lorkit.export.targets.base import BuildRequest


def test_every_region_equals_its_merged_network_at_every_batch(model: RegionalModel, built: BuildRequest) -> None:
    with get_target("onnx-adapters").load(built.directory, threads=1) as engine:
        for count in (1, 3, 8, 17):
            image = np.random.default_rng(count).random((count, 1, 16, 16), dtype=np.float32)
            region = np.random.default_rng(count).integers(2, size=count)
            found = engine.infer({"image": image, "region": region})
            assert list(found) == ["logits_chest", "logits_knee"]
            for at, name in enumerate(model.regions.names):
                with torch.no_grad():
                    expected = model.deployable(name)(torch.from_numpy(image)).numpy()
                rows = region == at
                np.testing.assert_allclose(found[f"logits_{name}"][rows], expected[rows], atol=1e-5)
                assert found[f"logits_{name}"].shape == expected.shape
                assert not found[f"logits_{name}"][~rows].any()
        with pytest.raises(ArtifactError, match="image"):
            engine.infer({"image": np.zeros((2, 1, 20, 20), np.float32)[:, :, :5, :5], "region": np.zeros(2)})


def test_the_example_answers_for_the_stated_region(model: RegionalModel, built: BuildRequest, tmp_path: Path) -> None:
    for name in ("example.py", "adapters_example.py"):
        (built.directory / name).write_bytes((Path(examples.__file__).parent / name).read_bytes())
    write_reader(built.directory / READER)
    (built.directory / "export.json").write_text(json.dumps(built.info.to_json()))
    pixels = np.random.default_rng(0).integers(0, 255, (16, 16), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "image.png")
    words = [sys.executable, "-W", "ignore", "adapters_example.py", str(tmp_path / "image.png"), "--region", "knee"]
    done = subprocess.run(words, cwd=built.directory, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    with torch.no_grad():
        image = torch.from_numpy(pixels.astype(np.float32) / 255)[None, None]
        expected = model.deployable("knee")(image)[0].tolist()
    assert answer["region"] == "knee"
    assert answer["logits"] == pytest.approx(expected, abs=1e-4)


def test_other_networks_and_hardware_are_refused(built: BuildRequest) -> None:
    target = get_target("onnx-adapters")
    with pytest.raises(UsageError, match="extract --region-id"):
        target.build(replace(built, network=torch.nn.Identity()))
    with pytest.raises(UsageError, match="a CPU profile"):
        target.require(profiles.load("rtx-ada"))
    (built.directory / "base.knee.onnx_adapter").write_bytes(b"damaged")
    with pytest.raises(ArtifactError, match="cannot read the base or an adapter"):
        target.load(built.directory)
