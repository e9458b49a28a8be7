"""Reader of a region's images without labels: a folder of any depth, a CSV of paths, an `.npz` or NIfTI files.

Labels that a source has are not read. Patients are found as in labelled data: by a column, an array, DICOM headers, or
the region's pattern `groups`; also by the folder of an image, if the labelled images have a patient of its name.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from lorkit.decompose.config import RegionConfig, resolve_path
from lorkit.decompose.data.formats import nifti
from lorkit.decompose.data.formats.grids import read_grid
from lorkit.decompose.data.formats.listing import images_of
from lorkit.decompose.data.formats.npz import keys_of, load_arrays, texts
from lorkit.decompose.data.formats.registry import KNOWN, is_image
from lorkit.decompose.data.preprocessing.recipe import intensity_step
from lorkit.decompose.data.readers import csv_manifest
from lorkit.decompose.data.readers.dicom_patients import patients_in_headers
from lorkit.decompose.data.readers.image_files import FileImages, within
from lorkit.decompose.data.readers.npz import check_images
from lorkit.decompose.data.readers.registry import concatenate
from lorkit.decompose.data.samples.digests import digested
from lorkit.decompose.data.samples.known_patients import Names, as_labelled
from lorkit.decompose.data.samples.label_table import UNCERTAIN
from lorkit.decompose.data.samples.open_files import OpenFiles
from lorkit.decompose.data.samples.patients import group_by_pattern, names_patients, stated_groups
from lorkit.decompose.data.samples.pseudonyms import Pseudonyms
from lorkit.decompose.data.samples.samples import RegionSamples
from lorkit.decompose.data.samples.source import Source
from lorkit.decompose.errors import DataError

_KINDS = "a folder of images, a .csv with a column of paths, or an .npz with images"


def read_unlabelled(
    labelled: RegionSamples,
    config: RegionConfig,
    *,
    base: Path,
    pseudonyms: Pseudonyms | None = None,
    files: OpenFiles | None = None,
) -> RegionSamples:
    """Read the images that a region names as `unlabelled`; every label is -1.

    Args:
        labelled: The region's own samples.
        config: Its settings, with `unlabelled`.
        base: Directory for relative paths.
        pseudonyms: Keyed hashes of patient ids, as for the labelled samples.
        files: Shared with other regions.

    Raises:
        DataError: A source without images, an image that cannot be used, or images of another kind than the labelled
            ones: another modality, gray for coloured ones, or more than twice as large or small.
    """
    name, opened = labelled.region.name, files or OpenFiles()
    entries = [resolve_path(entry, base) for entry in config.unlabelled or ()]
    sources, names = [], []
    while entries:
        count = max(1, csv_manifest.accepts(entries))
        source, patients = _read(entries[:count], config, opened)
        if not patients:
            raise DataError(f"no unlabelled images in {entries[0]}", required=_KINDS, fix="check the path")
        sources.append(source)
        names += patients
        entries = entries[count:]
    source = concatenate(sources)
    if config.groups is not None:
        source = replace(group_by_pattern(name, config.groups, source), identifying=False)
        names = [(group,) for group in source.groups]
    source = as_labelled(source, names, labelled, pseudonyms or Pseudonyms())
    where = f"unlabelled images of region '{name}'"
    digests, gray = digested(name, source, labelled.dims, what="unlabelled image")
    found = RegionSamples(
        **{**vars(source), "classes": labelled.classes, "labels": _unknown(labelled, len(source.ids))},
        region=replace(labelled.region, synthetic=source.synthetic, grouped=source.grouped),
        digests=digests,
        gray=gray,
        dims=labelled.dims,
        store=labelled.store,
        augment=labelled.augment,
    )
    _check_kind(where, labelled, found)
    return found


def _unknown(labelled: RegionSamples, count: int) -> Any:
    """Return labels that are all unknown, (N,) or (N, L) as those of the labelled samples."""
    return np.full((count, *labelled.labels.shape[1:]), UNCERTAIN, dtype=np.int64)


def _read(entries: Sequence[str], config: RegionConfig, files: OpenFiles) -> tuple[Source, list[Names]]:
    """Return the images of an entry, and the names of the patient of each."""
    path = Path(entries[0])
    if path.suffix.lower() in csv_manifest.SUFFIXES:
        return _read_csv(entries, config, files)
    if path.suffix.lower() == ".npz":
        return _read_npz(path, files)
    if path.exists():
        return _read_files(path, config, files)
    raise DataError(f"no unlabelled images at {path}", required=_KINDS, fix="check the path")


def _read_csv(entries: Sequence[str], config: RegionConfig, files: OpenFiles) -> tuple[Source, list[Names]]:
    path = Path(entries[0])
    root = Path(entries[1]) if len(entries) > 1 else path.parent
    rows, paths, names, _ = csv_manifest.read_manifest(path, root, ())
    cells = {column: tuple(row.get(column, "") for _, row in rows) for column in (rows[0][1] if rows else ())}
    source, patients = _source(path, paths, names, config, files)
    stated = stated_groups(cells, names)
    if stated is None:
        return source, patients
    source = replace(source, groups=stated.groups, grouped=stated.grouped, identifying=False, notices=stated.notices)
    rows_of = zip(stated.groups, names, patients, strict=True)
    return source, [others if group == name else (group, *others) for group, name, others in rows_of]


def _read_files(path: Path, config: RegionConfig, files: OpenFiles) -> tuple[Source, list[Names]]:
    root = path if path.is_dir() else path.parent
    paths = [within(root, found, str(path)) for found in images_of(path)]
    for found in paths:
        if not found.is_dir() and not is_image(found):
            raise DataError(f"{found} is no image that this reader knows", required=KNOWN, fix="convert or move it")
    # links may lead to another folder below the root, so names are those of the files
    names = tuple(found.relative_to(root.resolve()).as_posix() or found.name for found in paths)
    return _source(path, paths, names, config, files)


def _source(
    path: Path, paths: Sequence[Path], names: tuple[str, ...], config: RegionConfig, files: OpenFiles
) -> tuple[Source, list[Names]]:
    found = patients_in_headers(paths)
    groups = found.groups if found else (None,) * len(paths)
    folders = [tuple(PurePosixPath(name).parts[-2:-1]) for name in names]
    patients = [header or folder for header, folder in zip(found.names if found else folders, folders, strict=True)]
    source = Source(
        images=FileImages(paths, intensity_step(config), files),
        labels=np.zeros(len(paths), dtype=np.int64),
        classes=("",),
        ids=names,
        names=names,
        groups=tuple(group or name for group, name in zip(groups, names, strict=True)),
        grouped=found is not None and found.complete,
        identifying=found is not None,
        notices=found.notices if found else (),
        parts=(None,) * len(paths),
        origin=str(path),
        spacings=tuple(map(_spacing, paths)) if config.spacing is not None else (),
    )
    return source, patients


def _spacing(path: Path) -> tuple[float, ...] | None:
    """Return the spacing of a volume in mm, None for a picture."""
    return read_grid(path).spacing if path.is_dir() or nifti.accepts(path) else None


def _read_npz(path: Path, files: OpenFiles) -> tuple[Source, list[Names]]:
    key = "train_images" if "train_images" in keys_of(path) else "images"  # of MedMNIST only the training part
    arrays = files.arrays(path, load_arrays)
    if key not in arrays:
        raise DataError(f"{path} has no 'images'", required=_KINDS, fix="save them under this name")
    images = check_images(path, arrays[key])
    ids = texts(arrays.get("ids")) or tuple(f"{path.stem}/{row}" for row in range(len(images)))
    cells = {
        name: texts(array) or ()
        for name, array in arrays.items()
        if names_patients(name) and array.shape == (len(images),)
    }
    stated = stated_groups(cells, ids)
    source = Source(
        images=images,
        labels=np.zeros(len(images), dtype=np.int64),
        classes=("",),
        ids=ids,
        names=ids,
        groups=stated.groups if stated else ids,
        grouped=stated is not None and stated.grouped,
        notices=stated.notices if stated else (),
        parts=(None,) * len(images),
        origin=str(path),
    )
    return source, [() if group == own else (group,) for group, own in zip(source.groups, ids, strict=True)]


def _check_kind(where: str, labelled: RegionSamples, found: RegionSamples) -> None:
    """Refuse images of another kind than the labelled ones: what the network learns from them would be wrong."""
    one, two = labelled.region.modality, found.modality
    if one is not None and two is not None and one != two:
        given = f"{where} of modality {two}, the labelled ones of {one}"
        raise DataError(given, required="the same modality", fix="leave them out")
    colours = int((~found.gray).sum())
    if labelled.gray.all() and colours:
        number = "" if colours == len(found) else f"{colours} of {len(found)} "
        raise DataError(
            f"{number}{where} are coloured, the labelled ones gray",
            required="images of the same kind",
            fix="convert them, or leave them out",
        )
    if found.gray.all() and not labelled.gray.any():
        raise DataError(
            f"{where} are gray, the labelled ones coloured",
            required="images of the same kind",
            fix="convert them, or leave them out",
        )
    sides = [_median_side(samples) for samples in (found, labelled)]
    if max(sides) > 2 * min(sides):
        raise DataError(
            f"{where} are {sides[0]:.0f} pixels wide and high, the labelled ones {sides[1]:.0f} (medians)",
            required="at most twice as large or small: other sizes show other details",
            fix="resample them, or leave them out",
        )


def _median_side(samples: RegionSamples) -> float:
    """Return the median over images of the geometric mean of their sides, in pixels."""
    shapes = [samples.images[index].shape[: samples.dims] for index in range(len(samples))]
    return float(np.median(np.exp(np.log(np.array(shapes)).mean(1))))
