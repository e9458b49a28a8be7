"""Masks of DICOM series as DICOM Segmentation objects (PS3.3 A.51), through highdicom.

Every structure is a segment, also one that is empty. The object belongs to the study and the patient of its series,
lies in its frame of reference, and refers to its slices.

Shapes: F slices in order of their position, H rows, W columns, S segments.
"""

from __future__ import annotations

import hashlib
import importlib.util
import io
import uuid
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from lorkit.decompose.data.formats import dicom, dicom_series
from lorkit.decompose.data.formats.dicom_geometry import from_ras
from lorkit.decompose.errors import DataError, MissingRuntimeError, UsageError
from lorkit.export.prediction.masks import colour
from lorkit.export.prediction.writers.base import LabelledMask, MaskLabel, MaskSource

if TYPE_CHECKING:
    from pydicom import Dataset

_REQUIRED = ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "SOPClassUID", "FrameOfReferenceUID")
# may be empty by the standard, so what an anonymiser removed is written empty
_MAY_BE_EMPTY = ("PatientID", "PatientName", "PatientBirthDate", "PatientSex", "AccessionNumber", "StudyID",
                 "StudyDate", "StudyTime")  # fmt: skip
_SCHEME = "99LORKIT"
"""Coding scheme of structures that CID 7151 of DICOM does not list: the code is a digest of the name."""
_SHORT, _LONG = 16, 64
"""Most characters of DICOM's short and long strings."""
SERIES_NUMBER = 1000


class DicomSegWriter:
    """One DICOM SEG file with one bit per voxel and segment."""

    name = "dicom-seg"

    def check(self, path: Path) -> None:
        """Raise for all but DICOM series, for a series without its unique identifiers, and without highdicom."""
        if not path.is_dir():
            raise UsageError(
                f"--to dicom-seg for {path}",
                required="folders of the slices of a DICOM series, which the segments refer to",
                fix="name such a folder, or use --to nifti",
            )
        if importlib.util.find_spec("highdicom") is None:
            raise MissingRuntimeError(
                "--to dicom-seg needs highdicom, which is not installed",
                required="the extra 'dicom'",
                fix='pip install "lorkit[dicom]"',
            )
        first = dicom_series.read_grid(path).paths[0]
        header = _header(first)
        missing = [name for name in _REQUIRED if not str(header.get(name) or "").strip()]
        if missing:
            raise DataError(
                f"{first} has no {missing[0]}", required="a series that a segmentation can refer to",
                fix="export the series again with it, or use --to nifti",
            )  # fmt: skip

    def suffixes(self, labels: Sequence[MaskLabel], *, overlapping: bool) -> list[str]:
        """Return one suffix: segments may overlap."""
        return [".seg.dcm"]

    def encode(self, mask: LabelledMask, source: MaskSource) -> Iterator[bytes]:
        """Yield the file."""
        grid = dicom_series.read_grid(mask.path)
        slices = [_header(path) for path in grid.paths]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # remarks on empty masks and on values outside the standard
            found = _segmentation(slices, _pixels(mask, grid), mask, source)
        stream = io.BytesIO()
        found.save_as(stream, enforce_file_format=True)
        yield stream.getvalue()


def _header(path: Path) -> Dataset:
    with dicom.refusing_damage(path):
        dataset = dicom.read_dataset(path, pixels=False)
        for name in _MAY_BE_EMPTY:
            if name not in dataset:
                setattr(dataset, name, "")
        return dataset


def _pixels(mask: LabelledMask, grid: dicom_series.SeriesGrid) -> NDArray[Any]:
    """Return (F, H, W) segment numbers, or (F, H, W, S) where segments overlap; segments are counted from 1."""
    if mask.overlapping:
        return np.stack([from_ras(grid.stack, layer) for _, layer in mask.layers()], axis=-1).astype(np.uint8)
    values: NDArray[Any] = from_ras(grid.stack, mask.values)
    numbers = np.zeros(int(np.iinfo(values.dtype).max) + 1, dtype=np.uint16)
    for number, label in enumerate(mask.labels, start=1):
        numbers[label.value] = number
    return np.asarray(numbers[values])


def _segmentation(slices: Sequence[Dataset], pixels: NDArray[Any], mask: LabelledMask, source: MaskSource) -> Dataset:
    import highdicom as hd

    digest = hashlib.sha256(pixels.tobytes()).hexdigest()
    parts = [str(slices[0].SeriesInstanceUID), *sorted(source.digests.values()), source.version, digest]
    parts += [f"{label.value} {label.name}" for label in mask.labels]
    return hd.seg.Segmentation(
        source_images=slices,
        pixel_array=pixels,
        segmentation_type=hd.seg.SegmentationTypeValues.BINARY,
        segment_descriptions=_descriptions(mask.labels, source),
        series_instance_uid=_uid("series", parts),
        series_number=SERIES_NUMBER,
        sop_instance_uid=_uid("instance", parts),
        instance_number=1,
        manufacturer="lorkit",
        manufacturer_model_name=f"{source.region} {source.network}"[:_LONG],
        software_versions=source.version[:_LONG],
        device_serial_number=next(iter(source.digests.values()))[:_LONG],
        content_label="SEGMENTATION",
        content_description=_description(source)[:_LONG],
        series_description=_description(source)[:_LONG],
        omit_empty_frames=bool(pixels.any()),  # a file needs a frame
    )


def _description(source: MaskSource) -> str:
    used = "phantoms only, not for patients" if source.synthetic else "not for diagnosis"
    return f"lorkit {source.version}: {used}: {source.region}"


def _descriptions(labels: Sequence[MaskLabel], source: MaskSource) -> list[Any]:
    import highdicom as hd
    from pydicom.sr.codedict import codes

    found = []
    for number, label in enumerate(labels, start=1):
        algorithm = hd.AlgorithmIdentificationSequence(
            name=f"lorkit {label.region}"[:_LONG],
            family=codes.cid7162.ArtificialIntelligence,
            version=source.version[:_LONG],
            source="lorkit",
            parameters={"network": source.network, "sha256": source.digests[label.region]},
        )
        one = hd.seg.SegmentDescription(
            segment_number=number,
            segment_label=label.name[:_LONG],
            segmented_property_category=codes.SCT.AnatomicalStructure,
            segmented_property_type=structure_code(label.name),
            algorithm_type=hd.seg.SegmentAlgorithmTypeValues.AUTOMATIC,
            algorithm_identification=algorithm,
            display_color=hd.color.CIELabColor.from_rgb(*colour(label.value)),
        )
        one.SegmentDescription = label.name
        found.append(one)
    return found


def structure_code(name: str) -> Any:
    """Return the SNOMED code of a structure that CID 7151 of DICOM lists, as `Liver` and `LeftKidney`, else our own."""
    import highdicom as hd
    from pydicom.sr.codedict import codes

    words = name.replace("_", " ").replace("-", " ").split()
    keyword = "".join(word[:1].upper() + word[1:] for word in words)
    if keyword in codes.cid7151.concepts:
        return codes.cid7151.concepts[keyword]
    code = hashlib.sha256(name.encode()).hexdigest()[:_SHORT]
    return hd.sr.CodedConcept(value=code, scheme_designator=_SCHEME, meaning=name[:_LONG])


def _uid(kind: str, parts: Sequence[str]) -> str:
    """Return an identifier that the same mask of the same series always gets: a UUID below 2.25 (PS3.5 B.2)."""
    digest = hashlib.sha256("\n".join([kind, *parts]).encode()).digest()
    return f"2.25.{uuid.UUID(bytes=digest[:16], version=5).int}"
