"""Arrays in, arrays out: an expert or an engine that answers images from Python as `decompose predict` does.

Shapes: N images, C classes, S structures, H W an image, D H W a volume.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lorkit.decompose.artifacts import read_manifest
from lorkit.decompose.artifacts.arrays import Bits, Float32Array, Mask
from lorkit.decompose.artifacts.masks import pixel_counts
from lorkit.decompose.data.formats import nifti
from lorkit.decompose.data.formats.nifti_grid import on_file_grid
from lorkit.decompose.documents.export import ExportInfo
from lorkit.decompose.documents.html import cell, table
from lorkit.decompose.documents.predict import LabelledImage, MultilabelImage, PredictedImage, RoutedImage
from lorkit.decompose.errors import DataError, UsageError
from lorkit.decompose.runs import ExportSelection
from lorkit.export.prediction import inputs as files
from lorkit.export.prediction.answers import Answers, answer, chunk_size, require_images, with_flips
from lorkit.export.prediction.network import LoadedNetwork, open_network
from lorkit.export.prediction.preparation import PreparedImage, checked, prepare_image, prepare_values

Images = NDArray[Any] | Path | str | Iterable[NDArray[Any] | Path | str]
"""One array of images, files or folders, or several arrays or paths; see `Predictor.predict`."""


@dataclass(frozen=True, eq=False)
class Predictions:
    """The answers to some images, for research and not for diagnosis. Images that were refused have no answer.

    Attributes:
        classes: Names of the classes, labels or structures.
        rows: One per image, with the keys that `decompose predict --json` prints.
        outputs: Arrays by name: `logits` (N, C) or (N, 1 + S, *spatial) float32, or those of a router.
        probabilities: (N, C) float64, NaN where an image was refused; None for masks and routers.
        labels: Of a classifier, one per image, None where it was refused; None for other tasks.
        masks: Of a segmentation network, and of a router with a head that gives masks: one uint8 array per image, 0 for
            background, else 1 to S; on the grid of the image, for NIfTI in the shape in which nibabel reads the file.
            None where an image was refused, and where the head of its region gives none. None without such a head.
            Of structures that may overlap uint32 with a bit for each: 1 for the first, 2 for the second.
        warnings: What the readers warn of.
    """

    classes: tuple[str, ...]
    rows: tuple[PredictedImage, ...]
    outputs: dict[str, Float32Array]
    probabilities: NDArray[np.float64] | None
    labels: list[str | None] | None
    masks: list[Mask | Bits | None] | None
    warnings: tuple[str, ...]

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.rows)

    def _repr_html_(self) -> str:
        """Return a small table for notebooks: one row per image."""
        columns, rows = ["input", "refused"], [[row.input, row.refused] for row in self.rows]
        if self.labels is not None:
            columns, rows = [*columns, "label"], [[*row, label] for row, label in zip(rows, self.labels, strict=True)]
        if self.probabilities is not None:
            columns += [f"p {name}" for name in self.classes]
            rows = [[*row, *map(float, own)] for row, own in zip(rows, self.probabilities, strict=True)]
        if all(isinstance(row, RoutedImage) for row in self.rows):
            columns += ["region", "confidence"]
            rows = [
                [*row, own.region, own.confidence]
                for row, own in zip(rows, self.rows, strict=True)
                if isinstance(own, RoutedImage)
            ]
        elif self.masks is not None:
            columns += [f"size of {name}" for name in self.classes]
            rows = [[*row, *self._sizes(mask)] for row, mask in zip(rows, self.masks, strict=True)]
        return table("predictions, not for diagnosis", columns, rows, notes=self.warnings)

    def _sizes(self, mask: Mask | Bits | None) -> list[int | None]:
        return [None] * len(self.classes) if mask is None else pixel_counts(mask, len(self.classes)).tolist()


@dataclass(frozen=True, eq=False)
class Predictor:
    """An expert or an engine that answers images.

    Attributes:
        network: The opened network: its region, recipe and description.
    """

    network: LoadedNetwork

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes, labels or structures."""
        return tuple(self.network.region.classes)

    def predict(
        self,
        inputs: Images,
        *,
        flips: bool = False,
        top: int = 1,
        allow_synthetic: bool = False,
        allow_out_of_region: bool = False,
    ) -> Predictions:
        """Answer images: the same answers as `decompose predict` gives to the same files.

        Args:
            inputs: Either paths: one or several files, folders or CSV files with a column of paths. Or arrays: one of
                (N, H, W) or (N, H, W, 3), for volumes (N, D, H, W), or several of one image each, of any size. Their
                values are those of an image file: uint8, uint16, or floating in [0, 1], and in physical units if the
                recipe of the network has a window. Preprocessing is applied here.
            flips: Average the logits of each image and its mirror image.
            top: Number of classes per image in `rows`.
            allow_synthetic: Allow a network that was trained on phantoms only.
            allow_out_of_region: Also answer images that do not look like the region.

        Returns:
            The answers, in the order of the images.

        Raises:
            UsageError: There is no image, or the network scores nodes of a graph, or cannot be used with flips.
            ArtifactError: The network was trained on phantoms only, without `allow_synthetic`.
            DataError: A file cannot be read, or an array has another shape, dtype or range; the message names it.
        """
        require_images(self.network, allow_synthetic=allow_synthetic)
        network = with_flips(self.network) if flips else self.network
        images, size = _images(inputs, network.recipe.dims), chunk_size(network)
        found: list[Answers] = []
        notes: list[str] = []
        for start in range(0, len(images), size):
            chunk = [_prepared(network, image, start + at) for at, image in enumerate(images[start : start + size])]
            notes += [f"{image.path}: {text}" for image in chunk for text in image.warnings]
            nowhere = [None] * len(chunk)
            one = answer(network, chunk, nowhere, top=top, allow_out_of_region=allow_out_of_region)
            one.masks[:] = [_on_grid(mask, image) for mask, image in zip(one.masks, chunk, strict=False)]
            found.append(one)
        return self._joined(found, notes)

    def _joined(self, found: Sequence[Answers], notes: Sequence[str]) -> Predictions:
        rows = tuple(row for one in found for row in one.rows)
        outputs = {name: np.concatenate([one.outputs[name] for one in found]) for name in found[0].outputs}
        alone = self.network.router is None
        dense = alone and self.network.dense
        single = alone and not dense and not self.network.multilabel
        return Predictions(
            classes=self.classes,
            rows=rows,
            outputs=outputs,
            probabilities=_probabilities(rows, self.classes) if alone and not dense else None,
            labels=[row.label for row in rows if isinstance(row, LabelledImage)] if single else None,
            masks=[mask for one in found for mask in one.masks] if self.network.dense else None,
            warnings=tuple(notes),
        )

    def _repr_html_(self) -> str:
        """Return a small table for notebooks: what it is, what it takes and what it answers."""
        network, info = self.network, self.network.info
        shape = ("N", *network.shape)
        rows: list[list[object]] = [
            ["region", network.region.name],
            ["task", network.region.task],
            ["classes", ", ".join(self.classes)],
            ["input of the network", f"float32 ({', '.join(map(str, shape))})"],
            ["parameters", info.parameters],
            ["multiply-adds of one image", info.macs],
            ["trained on phantoms only", info.synthetic],
        ]
        if isinstance(info, ExportInfo):
            rows += [["target", info.target], ["profile", info.profile], ["precision", info.precision]]
            rows += [["parity", info.parity.status], ["size in bytes", info.size_bytes]]
        caption = f"{'engine' if isinstance(info, ExportInfo) else 'expert'} in {cell(str(network.path))}"
        return table(f"{caption}, not for diagnosis", ("", ""), rows)


def load_expert(path: Path | str, *, threads: int | None = None) -> Predictor:
    """Open an extracted expert or router, which runs with torch; `lorkit.decompose.load_expert` gives the torch module.

    Args:
        path: Its directory, such as `runs/ID/experts/chest`.
        threads: CPU threads of torch; its own choice by default.

    Raises:
        UsageError: It is no expert.
        ArtifactError: It is damaged.
    """
    return _opened(path, ("expert", "mixture"), "an expert", "extract one with `decompose extract`", threads)


def load_engine(path: Path | str, *, threads: int | None = None) -> Predictor:
    """Open an export, which runs with its own runtime and without torch; `lorkit.export.load_engine` gives the engine.

    Args:
        path: Its directory, such as `runs/ID/exports/chest/onnx-cpu-generic-fp32`.
        threads: CPU threads; the runtime's own choice by default.

    Raises:
        UsageError: It is no export.
        ArtifactError: It is damaged.
        MissingRuntimeError: Its runtime or hardware is missing.
    """
    return _opened(path, ("export",), "an export", "make one with `decompose export`", threads)


def _opened(path: Path | str, kinds: Sequence[str], required: str, fix: str, threads: int | None) -> Predictor:
    kind = read_manifest(Path(path), verify=False).kind
    if kind not in kinds:
        raise UsageError(f"{path} is of kind '{kind}'", required=required, fix=f"name one, or {fix}")
    return Predictor(open_network(Path(path), None, ExportSelection(), threads))


def _images(inputs: Images, dims: int) -> list[Path | NDArray[Any]]:
    """Return single images: files, or arrays (H, W), (H, W, 3) or (D, H, W)."""
    if isinstance(inputs, str | PathLike):
        return list(files.expand([inputs]))
    if hasattr(inputs, "__array__"):
        return _rows_of(np.asarray(inputs), dims)
    several = list(inputs)
    named = [isinstance(one, str | PathLike) for one in several]
    if all(named):  # also none at all, which expanding refuses
        return list(files.expand(one for one in several if isinstance(one, str | PathLike)))
    if any(named):
        raise UsageError("paths beside arrays", required="either paths or arrays", fix="call predict for each of them")
    return [np.asarray(one) for one in several]


def _rows_of(array: NDArray[Any], dims: int) -> list[Path | NDArray[Any]]:
    """Return the images of one array, whose first axis counts them."""
    given = f"an array of {array.dtype} with shape {tuple(array.shape)}"
    wanted = "(N, D, H, W)" if dims == 3 else "(N, H, W) or (N, H, W, 3)"
    if dims == 2 and array.ndim == 4 and array.shape[1] in (1, 3) and array.shape[3] != 3:
        fix = "array[:, 0]" if array.shape[1] == 1 else "array.transpose(0, 2, 3, 1)"
        raise DataError(given, required=wanted, fix=f"move the channels to the end: {fix}")
    gray, colour = array.ndim == dims + 1, dims == 2 and array.ndim == 4 and array.shape[3] == 3
    if gray and dims == 2 and array.shape[2] == 3:
        raise DataError(given, required=wanted, fix="add an axis for the images: array[None]")
    if not (gray or colour):
        raise DataError(given, required=wanted, fix="for one image, add an axis for the images: array[None]")
    if not len(array):
        raise UsageError(given, required="at least one image", fix="give it one")
    return list(array)


def _prepared(network: LoadedNetwork, image: Path | NDArray[Any], index: int) -> PreparedImage:
    if isinstance(image, Path):
        return prepare_image(network, image)
    return checked(network, [prepare_values(network, image, Path(f"image {index}"))])[0]


def _on_grid(mask: Mask | Bits | None, image: PreparedImage) -> Mask | Bits | None:
    """Return a mask on the grid of its file, as its file would hold it."""
    if mask is None or not (image.path.is_file() and nifti.accepts(image.path)):
        return mask
    return on_file_grid(mask, image.path)


def _probabilities(rows: Sequence[PredictedImage], classes: Sequence[str]) -> NDArray[np.float64]:
    found = np.full((len(rows), len(classes)), np.nan)
    for index, row in enumerate(rows):
        if isinstance(row, LabelledImage) and row.probabilities is not None:
            found[index] = [row.probabilities[name] for name in classes]
        elif isinstance(row, MultilabelImage) and row.labels is not None:
            found[index] = [row.labels[name].probability for name in classes]
    return found
