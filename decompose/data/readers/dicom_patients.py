"""The patients of DICOM files, from their headers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from lorkit.decompose.data.formats import dicom


class HeaderGroups(NamedTuple):
    """The group of each file, and what the user should know."""

    groups: tuple[str, ...]
    notices: tuple[str, ...]


def patients_in_headers(paths: Sequence[Path]) -> HeaderGroups | None:
    """Return the patient of each file; None unless all are DICOM files that state a patient or a study.

    An id that is empty, or the same in all files, says nothing about patients: the study stands for the patient then.

    Raises:
        DataError: A header cannot be read.
    """
    if not paths or not all(path.is_file() and dicom.accepts(path) for path in paths):
        return None
    rows = []
    for path in paths:
        with dicom.refusing_damage(path):
            dataset = dicom.read_dataset(path, pixels=False)
            rows.append([str(dataset.get(name) or "").strip() for name in ("PatientID", "StudyInstanceUID")])
    patients, studies = zip(*rows, strict=True)
    if all(patients) and len(set(patients)) > 1:
        return HeaderGroups(tuple(patients), ())
    if not all(studies):
        return None
    reason = "is the same in all files" if all(patients) else "is empty"
    notice = f"PatientID {reason}: studies (StudyInstanceUID) stand for patients"
    return HeaderGroups(tuple(f"study {text}" for text in studies), (notice,))
