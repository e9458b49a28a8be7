"""An expert that was taught runs from its file alone."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from mixtures import mixture_of
from resealing import reseal
from small_runs import small_config, write_run

from lorkit.decompose.documents.heads import MixtureForm
from lorkit.decompose.errors import BusyError
from lorkit.decompose.runs import Run, locked_data, open_run
from lorkit.decompose.runs.recipes import recipe_of_region
from lorkit.export.building.run_data import OpenedSplits, ReferenceImageCache
from lorkit.export.building.sources import networks_of_run


def test_a_taught_expert_runs_without_teacher_packages(tmp_path: Path) -> None:
    """Its program holds no package at all, which the tests of extraction prove where lorkit is not."""
    from lorkit.decompose.extraction.extraction import extract
    from lorkit.decompose.runs.networks import RunNetworks

    settings = {"name": "small", "method": "drd", "student.backbone": "resnet18"}
    config = small_config(tmp_path, backbone="shufflenet_v2_x1_0", **settings)
    run = write_run(config, tmp_path / "runs" / "small")
    (expert, *_) = extract(run, region="chest")
    images = torch.rand(3, 1, 16, 16, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        live = RunNetworks(run).expert("chest").eval()
        wanted = live(images)
    np.savez(tmp_path / "wanted.npz", images=images.numpy(), logits=wanted.numpy())
    script = f"""
import sys
for name in ("timm", "monai", "onnxruntime", "onnx", "teacher"):
    sys.modules[name] = None  # what imports it gets an ImportError
import numpy as np, torch
from lorkit.decompose.models.backbones.resnet import resnet18
from lorkit.decompose.runs.expert import load_expert
from safetensors.torch import load_file
torch.set_num_threads({torch.get_num_threads()})
stored = np.load({str(tmp_path / "wanted.npz")!r})
images, wanted = torch.from_numpy(stored["images"]), torch.from_numpy(stored["logits"])
expert = load_expert({str(expert.path)!r})
plain = resnet18(1)
plain.fc = torch.nn.Linear(512, 2)
plain.load_state_dict(load_file({str(expert.path / "model.safetensors")!r}))
plain.eval()
with torch.inference_mode():
    assert torch.equal(expert.network(images), wanted), "load_expert"
    assert torch.equal(plain(expert.network.normalise(images)), wanted), "public class"
print("equal")
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=300, check=False)
    assert done.stdout.strip() == "equal", done.stderr


def test_networks_of_one_run_share_its_images(a_run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    seen, read = [], locked_data.read_region
    monkeypatch.setattr(locked_data, "read_region", lambda name, *a, **k: seen.append(name) or read(name, *a, **k))
    cache = ReferenceImageCache(OpenedSplits(), part="test", count=2)
    recipe = recipe_of_region(a_run, "chest")
    for shape in (recipe.shape, (3, 8, 8)):  # a foundation's input may have another shape than the expert's
        network = SimpleNamespace(run=a_run, region=a_run.regions.get("chest"), shape=shape, recipe=recipe,
                                  mixture=None)  # fmt: skip
        assert len(cache.of(network).images) == 2  # type: ignore[arg-type]
    assert (seen, cache.notes) == (["chest"], [])


def test_a_network_of_all_regions_is_exported_with_the_foundation_of_each_and_no_student(
    several_runs: dict[MixtureForm, Path],
) -> None:
    found = networks_of_run(open_run(several_runs["region-id"]))
    assert [(one.owner, one.region.name) for one in found] == [
        ("expert", "region-id"),
        ("foundation", "chest"),
        ("foundation", "knee"),
    ]


@pytest.mark.parametrize(("by_region", "each"), [(False, 3), (True, 6)])
def test_a_network_of_several_regions_gets_images_of_each(a_run: Run, by_region: bool, each: int) -> None:
    cache, mixture = (
        ReferenceImageCache(OpenedSplits(), count=6, by_region=by_region),
        mixture_of("router", a_run.regions),
    )
    recipe = recipe_of_region(a_run, "chest")
    group = mixture.as_region()
    network: Any = SimpleNamespace(run=a_run, region=group, shape=recipe.shape, recipe=recipe, mixture=mixture)
    found = cache.of(network)
    assert found.region_N is not None
    assert found.region_N.tolist() == [0, 1] * each
    for index, name in enumerate(a_run.regions.names):
        part = locked_data.RunSplits(a_run).part(name, "val", most=each)
        np.testing.assert_array_equal(found.images[found.region_N == index], part.images)


@pytest.mark.parametrize("form", ["expert", "region-id"])
def test_a_network_that_was_extracted_again_since_it_was_found_is_not_taken_for_it(
    extracted: Path, several_run: Callable[[MixtureForm], Path], tmp_path: Path, form: MixtureForm
) -> None:
    run = shutil.copytree(extracted, tmp_path / "run") if form == "expert" else several_run(form)
    (source,) = networks_of_run(open_run(run), "chest" if form == "expert" else form, ("expert",))
    reseal(source.parent.path, lambda manifest: manifest.update(created="2000-01-01T00:00:00+00:00"))
    with pytest.raises(BusyError, match="was replaced while it was read"):
        _ = source.network
