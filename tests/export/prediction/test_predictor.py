"""Experts and engines in Python: the answers of `predict` as arrays, and one line for what they do not take."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
from PIL import Image

from lorkit.decompose.documents.heads import Head, Mixture, head_output
from lorkit.decompose.documents.predict import LabelledImage, MultilabelImage, RoutedImage
from lorkit.decompose.errors import ArtifactError, DataError, LorkitError, UsageError
from lorkit.decompose.runs.expert import load_expert as load_module
from lorkit.export.building.exporting import export
from lorkit.export.prediction.prediction import predict
from lorkit.export.prediction.predictor import Predictor, load_engine, load_expert

NAME = "onnx-cpu-generic-fp32"


@pytest.fixture(scope="module")
def engine(exported: Path) -> Predictor:
    return load_engine(exported / "exports" / "chest" / NAME)


@pytest.fixture(scope="module")
def pictures() -> np.ndarray:
    """(5, 20, 30, 3) uint8: more than one answer, some of them outside of the region."""
    return np.random.default_rng(0).integers(0, 255, (5, 20, 30, 3), dtype=np.uint8)


def write_pictures(pictures: np.ndarray, folder: Path) -> list[Path]:
    paths = [folder / f"{index}.png" for index in range(len(pictures))]
    for path, picture in zip(paths, pictures, strict=True):
        Image.fromarray(picture).save(path)
    return paths


@pytest.mark.parametrize("place", ["expert", "engine"])
@pytest.mark.parametrize("flips", [False, True])
def test_files_and_arrays_get_the_answers_of_predict_bit_for_bit(
    exported: Path, engine: Predictor, pictures: np.ndarray, tmp_path: Path, place: str, flips: bool
) -> None:
    path = engine.network.path if place == "engine" else exported / "experts" / "chest"
    paths = write_pictures(pictures, tmp_path)
    document = predict(path, paths, flips=flips, top=2)
    opened = engine if place == "engine" else load_expert(path)
    from_files = opened.predict(paths, flips=flips, top=2)
    assert list(from_files.rows) == list(document.predictions)
    allowed = predict(path, paths, flips=flips, allow_out_of_region=True)
    for given in (paths, pictures, list(pictures)):
        found = opened.predict(given, flips=flips, allow_out_of_region=True)
        assert found.probabilities is not None
        assert found.probabilities.shape == (5, 2)
        for row, own, label in zip(allowed.predictions, found.probabilities, found.labels or (), strict=True):
            assert own.tolist() == [row.probabilities[name] for name in opened.classes]
            assert label == row.label
    assert found.outputs["logits"].dtype == np.float32
    assert found.rows[3].input == "image 3"


def test_an_image_of_another_region_has_no_label_and_no_probability(engine: Predictor) -> None:
    noise = np.where(np.indices((24, 24)).sum(0) % 2 == 0, 255, 0).astype(np.uint8)
    found = engine.predict(noise[None])
    assert found.labels == [None]
    assert found.probabilities is not None
    assert np.isnan(found.probabilities).all()
    assert len(found) == 1
    assert "not for diagnosis" in found._repr_html_()


def test_gray_and_floating_images_are_those_of_bytes(engine: Predictor) -> None:
    gray = np.random.default_rng(1).integers(0, 255, (3, 16, 16), dtype=np.uint8)
    bytes_, shares = (
        engine.predict(values, allow_out_of_region=True) for values in (gray, (gray / np.float64(255)).astype("f4"))
    )
    np.testing.assert_allclose(bytes_.outputs["logits"], shares.outputs["logits"], atol=1e-5)
    tensor = engine.predict(torch.from_numpy(gray), allow_out_of_region=True)  # type: ignore[arg-type]
    np.testing.assert_array_equal(tensor.outputs["logits"], bytes_.outputs["logits"])
    many = engine.predict(np.repeat(gray, 30, axis=0), allow_out_of_region=True)  # more than one chunk
    np.testing.assert_allclose(many.outputs["logits"][::30], bytes_.outputs["logits"], atol=1e-5)


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (np.zeros((16, 16), np.uint8), r"uint8 with shape \(16, 16\); required: \(N, H, W\).*array\[None\]"),
        (np.zeros((16, 16, 3), np.uint8), r"shape \(16, 16, 3\); required: .*array\[None\]"),
        (np.zeros((2, 3, 16, 16), np.uint8), r"required: \(N, H, W\) or \(N, H, W, 3\).*transpose\(0, 2, 3, 1\)"),
        (np.zeros((2, 1, 16, 16), np.uint8), r"array\[:, 0\]"),
        (np.zeros((0, 16, 16), np.uint8), "required: at least one image"),
        (np.zeros((1, 16, 16), np.int64), "image 0: image of dtype int64; required: uint8, uint16 or float32"),
        (np.full((1, 16, 16), 7.0), r"image 0: float64 image with values 7 to 7; required: values in \[0, 1\]"),
        (np.full((1, 16, 16), np.nan), "image 0: image with NaN"),
        ([np.zeros((16, 16), np.uint8), np.zeros(16, np.uint8)], r"image 1: image of shape \(16,\)"),
        ([np.zeros((16, 16), np.uint8), "a.png"], "paths beside arrays"),
        ([], "no input"),
        ("nowhere.png", "no file at nowhere.png"),
    ],
)  # fmt: skip
def test_what_is_not_an_image_is_one_line(engine: Predictor, given: object, says: str) -> None:
    with pytest.raises((DataError, UsageError), match=says) as caught:
        engine.predict(given)  # type: ignore[arg-type]
    assert isinstance(caught.value, LorkitError)
    assert "\n" not in str(caught.value)


def test_masks_are_those_that_predict_writes(
    write_volume: Callable[..., Path], deep: Path, flat: Path, tmp_path: Path
) -> None:
    paths = [write_volume(tmp_path / f"{axes.lower()}.nii.gz", axes=axes) for axes in ("RAS", "SLA")]
    predict(deep, paths, out=tmp_path / "out")
    found = load_engine(deep).predict(paths)
    assert found.probabilities is None
    for path, mask in zip(paths, found.masks or (), strict=True):
        assert mask is not None
        np.testing.assert_array_equal(mask, np.asarray(nib.load(tmp_path / "out" / path.name).dataobj))
    volume = np.asarray(nib.load(paths[0]).dataobj)
    assert [mask.shape for mask in load_engine(deep).predict(volume[None]).masks or () if mask is not None]
    picture = np.random.default_rng(0).integers(0, 255, (40, 30), dtype=np.uint8)
    write_pictures(picture[None], tmp_path)
    predict(flat, [tmp_path / "0.png"], out=tmp_path / "flat")
    (mask,) = load_engine(flat).predict(picture[None]).masks or ()
    np.testing.assert_array_equal(mask, np.asarray(Image.open(tmp_path / "flat" / "0.png")))
    assert "size of core" in load_engine(flat).predict(picture[None])._repr_html_()


def test_several_labels_have_a_probability_each(
    small_backbone: None, write_expert: Callable[..., Path], tmp_path: Path
) -> None:
    path = write_expert(tmp_path / "films", (16, 16), task="multilabel")
    pictures = np.random.default_rng(0).integers(0, 255, (3, 20, 30), dtype=np.uint8)
    document = predict(path, write_pictures(pictures, tmp_path))
    for opened in (load_expert(path), load_engine(export(path, profile="cpu-generic").exports[0].path)):
        found = opened.predict(pictures)
        assert (found.labels, found.masks) == (None, None)
        assert found.probabilities is not None
        expected = 1 / (1 + np.exp(-found.outputs["logits"].astype(np.float64)))
        np.testing.assert_allclose(found.probabilities, expected, atol=1e-6)
        for row, own in zip(document.predictions, found.probabilities, strict=True):
            assert isinstance(row, MultilabelImage)
            assert own == pytest.approx([(row.labels or {})[name].probability for name in opened.classes], abs=1e-5)


def test_volumes_as_arrays_get_the_answers_of_their_files(
    small_backbone: None, write_expert: Callable[..., Path], tmp_path: Path
) -> None:
    path = write_expert(tmp_path / "scan", (8, 8, 8), task="classification")
    volumes = np.random.default_rng(0).random((2, 9, 14, 11), dtype=np.float32)
    paths = [tmp_path / f"{index}.nii.gz" for index in range(2)]
    for file, volume in zip(paths, volumes, strict=True):
        nib.save(nib.Nifti1Image(volume, np.eye(4)), file)  # along right, anterior and superior, as an array is taken
    from_files = predict(path, paths).predictions
    for opened in (load_expert(path), load_engine(export(path, profile="cpu-generic").exports[0].path)):
        found = opened.predict(volumes)
        assert found.labels == [row.label for row in from_files if isinstance(row, LabelledImage)]
        assert found.probabilities is not None
        for row, own in zip(from_files, found.probabilities, strict=True):
            assert isinstance(row, LabelledImage)
            assert own == pytest.approx([(row.probabilities or {})[name] for name in opened.classes], abs=1e-5)
        with pytest.raises(DataError, match=r"required: \(N, D, H, W\)"):
            opened.predict(volumes[0])


def test_a_router_gives_the_mask_of_the_region_that_has_one(engine: Predictor) -> None:
    heads = [
        Head(region="chest", task="classification", classes=["normal", "ill"], output=head_output("chest")),
        Head(region="eye", task="segmentation", classes=["vessel"], output=head_output("eye")),
    ]
    mixture = Mixture(form="router", heads=heads, abstain_below=0.5)
    masks = np.zeros((3, 2, 4, 4), np.float32)
    masks[:, 1, :2], masks[:, 0, 2:] = 9.0, 9.0
    outputs = {
        "logits_chest": np.array([[0.0, 2.0]] * 3, np.float32),
        "logits_eye": masks,
        "region_probabilities": np.array([[0.9, 0.1], [0.1, 0.9], [0.6, 0.4]], np.float32),
        "confidence": np.array([0.9, 0.9, 0.2], np.float32),
        "gates": np.ones((3, 1, 2), np.float32),
    }
    info = engine.network.info.with_changes(mixture=mixture)
    network = replace(engine.network, info=info, region=mixture.as_region(), infer=lambda inputs: outputs)
    found = Predictor(network).predict(np.zeros((3, 8, 8), np.uint8))
    assert [row.region for row in found.rows if isinstance(row, RoutedImage)] == ["chest", "eye", None]
    assert found.masks is not None
    chest, eye, refused = found.masks
    assert (chest, refused, found.probabilities, found.labels) == (None, None, None, None)
    np.testing.assert_array_equal(eye, np.repeat([1, 0], 4)[:, None] * np.ones((1, 8), np.uint8))
    assert "<th>region</th>" in found._repr_html_()


def test_directories_of_another_kind_are_refused(exported: Path) -> None:
    with pytest.raises(UsageError, match=r"is of kind 'export'; required: an expert; name one, or extract"):
        load_expert(exported / "exports" / "chest" / NAME)
    with pytest.raises(UsageError, match=r"is of kind 'expert'; required: an export; name one, or make"):
        load_engine(exported / "experts" / "chest")


def test_phantoms_are_no_patients(engine: Predictor) -> None:
    phantoms = Predictor(replace(engine.network, info=engine.network.info.with_changes(synthetic=True)))
    with pytest.raises(ArtifactError, match=r"was trained on phantoms only.*in Python with allow_synthetic=True"):
        phantoms.predict(np.zeros((1, 8, 8), np.uint8))
    assert len(phantoms.predict(np.zeros((1, 8, 8), np.uint8), allow_synthetic=True)) == 1


def test_a_notebook_shows_what_it_is(exported: Path, engine: Predictor) -> None:
    assert "engine in " in engine._repr_html_()
    assert "<td>precision</td><td>fp32</td>" in engine._repr_html_()
    expert = load_expert(exported / "experts" / "chest")
    assert "<td>classes</td><td>normal, pneumonia</td>" in expert._repr_html_()
    parameters = sum(value.numel() for value in load_module(exported / "experts" / "chest").plain.parameters())
    assert f"<td>{parameters}</td>" in expert._repr_html_()
