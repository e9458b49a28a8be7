from __future__ import annotations

import csv
import json
import warnings
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import torch
from PIL import Image

from lorkit.decompose.data.preprocessing.recipe import apply_recipe
from lorkit.decompose.documents.recipe import Recipe
from lorkit.export.prediction import inputs
from lorkit.export.targets import get_target
from lorkit.export.targets.base import BuildRequest
from lorkit.export.targets.monai.bundle_config import EXPRESSIONS, inference_config

GENERATOR = np.random.default_rng(0)


def recipe(size: list[int], channels: int, intensity: dict[str, Any]) -> Recipe:
    return Recipe.model_validate({
        "version": 1 if len(size) == 2 else 2,
        **({} if len(size) == 2 else {"axes": "RAS"}),
        "steps": [
            {"op": "intensity", **intensity},
            {"op": "resize", "size": size, "filter": "bilinear" if len(size) == 2 else "trilinear"},
            {"op": "channels", "count": channels},
            {"op": "normalise", "mean": [0.5] * channels, "std": [0.25] * channels},
        ],
    })  # fmt: skip


@pytest.fixture
def monai_bundle() -> Iterator[Any]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import monai.bundle

        yield monai.bundle


def write(path: Path, values: np.ndarray[Any, Any]) -> Path:
    if path.suffix == ".png":
        Image.fromarray(values).save(path)
        return path
    affine = np.diag([-2.0, 1.0, 1.5, 1.0])  # from right to left, so that reading has to turn it
    nibabel.save(nibabel.Nifti1Image(values, affine), path)
    return path


def strings(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        for key, part in value.items():
            yield from (key, *strings(part))
    elif isinstance(value, list):
        for part in value:
            yield from strings(part)
    elif isinstance(value, str):
        yield value


WINDOW = {"rule": "window", "low": 20.0, "high": 200.0}
PERCENTILE = {"rule": "percentile", "low": 1.0, "high": 99.0}
CASES = [
    ([16, 24], 1, {"rule": "dtype"}, (40, 60)),
    ([16, 24], 3, {"rule": "dtype"}, (40, 60, 3)),
    ([16, 24], 3, {"rule": "dtype"}, (40, 60)),
    ([16, 24], 1, {"rule": "dtype"}, (40, 60, 3)),
    ([48, 24], 1, WINDOW, (40, 60)),
    ([16, 24], 1, PERCENTILE, (40, 60)),
    ([8, 12, 16], 1, WINDOW, (10, 20, 14)),
    ([8, 24, 16], 1, PERCENTILE, (16, 20, 14)),
]


@pytest.mark.parametrize(("size", "channels", "intensity", "shape"), CASES)
def test_monai_prepares_an_image_as_the_recipe_does(
    monai_bundle: Any, tmp_path: Path, size: list[int], channels: int, intensity: dict[str, Any], shape: tuple[int, ...]
) -> None:
    steps = recipe(size, channels, intensity)
    dtype = np.uint8 if len(size) == 2 else np.float32
    values = GENERATOR.integers(0, 255, shape).astype(dtype)
    path = write(tmp_path / ("a.png" if len(size) == 2 else "a.nii.gz"), values)
    parser = monai_bundle.ConfigParser(inference_config(steps, dense=False))
    found = parser.get_parsed_content("preprocessing")({"image": str(path)})["image"]
    expected = apply_recipe(steps, inputs.read(path, steps))
    np.testing.assert_allclose(np.asarray(found), expected, atol=2e-5)


@pytest.mark.parametrize("dense", [False, True])
@pytest.mark.parametrize("size", [[16, 24], [8, 12, 16]])
def test_no_python_but_the_constants(size: list[int], dense: bool) -> None:
    config = inference_config(recipe(size, 1, WINDOW), dense=dense)
    assert {text for text in strings(config) if "$" in text} == set(EXPRESSIONS.values())
    assert not {"import", "eval", "lambda", "os", "subprocess"} & set(" ".join(EXPRESSIONS.values()).split())


def run(monai_bundle: Any, bundle: Path, folder: Path, out: Path) -> None:
    monai_bundle.run(
        config_file=str(bundle / "configs" / "inference.json"),
        meta_file=str(bundle / "configs" / "metadata.json"),
        logging_file=False,
        bundle_root=str(bundle),
        dataset_dir=str(folder),
        output_dir=str(out),
    )


def test_monai_runs_a_classifier_on_a_folder(
    monai_bundle: Any, tmp_path: Path, build_request: Callable[..., BuildRequest]
) -> None:
    plan = build_request(tmp_path)
    get_target("monai").build(plan)
    folder = tmp_path / "input"
    folder.mkdir()
    paths = [
        write(folder / f"{name}.png", GENERATOR.integers(0, 255, (40, 60), dtype=np.uint8)) for name in ("b", "a", "c")
    ]
    run(monai_bundle, tmp_path / "bundle", folder, tmp_path / "out")
    with (tmp_path / "out" / "predictions.csv").open() as stream:
        rows = {Path(row[0]).name: [float(value) for value in row[1:]] for row in csv.reader(stream)}
    assert rows.keys() == {"a.png", "b.png", "c.png"}
    steps = plan.info.recipe
    for path in paths:
        with torch.inference_mode():
            image = torch.from_numpy(apply_recipe(steps, inputs.read(path, steps)))
            expected = plan.network(image[None]).softmax(1)[0].numpy()
        np.testing.assert_allclose(rows[path.name], expected, atol=1e-4)


class Bright(torch.nn.Module):
    """A segmenter of one structure: what is brighter than the middle."""

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return torch.cat([0.5 - image, image - 0.5], dim=1) * 20


@pytest.mark.parametrize("size", [[16, 24], [16, 16, 24]])
def test_monai_writes_masks_on_the_grid_of_the_image(
    monai_bundle: Any, tmp_path: Path, build_request: Callable[..., BuildRequest], size: list[int]
) -> None:
    steps = recipe(size, 1, {"rule": "window", "low": 0.0, "high": 200.0})
    facts = {"task": "segmentation", "classes": ["bright"], "outputs": ["background", "bright"], "recipe": steps}
    plan = build_request(tmp_path, **facts)
    get_target("monai").build(replace(plan, network=Bright().eval(), shape=(1, *size)))
    folder = tmp_path / "input"
    folder.mkdir()
    values = np.zeros((32, 48) if len(size) == 2 else (32, 32, 48), np.uint8)
    values[4:16, 8:20] = 200  # no symmetry: neither a turn nor a mirror image is the same
    suffix = ".png" if len(size) == 2 else ".nii.gz"
    source = write(folder / f"case{suffix}", values)
    run(monai_bundle, tmp_path / "bundle", folder, tmp_path / "out")
    mask = tmp_path / "out" / f"case_mask{suffix}"
    if len(size) == 2:
        found = np.asarray(Image.open(mask))
    else:
        image = nibabel.load(mask)
        found = np.asarray(image.dataobj)
        np.testing.assert_allclose(image.affine, nibabel.load(source).affine)
    assert found.shape == values.shape
    assert json.dumps(sorted(np.unique(found).tolist())) == "[0, 1]"
    assert (found != (values > 0)).mean() < 0.02


def test_labels_that_do_not_exclude_each_other_have_a_sigmoid_each() -> None:
    document = inference_config(recipe([8, 8], 1, {"rule": "dtype"}), dense=False, exclusive=False)
    assert document["postprocessing"]["transforms"] == [{"_target_": "Activationsd", "keys": "pred", "sigmoid": True}]
