"""The patients of DICOM files, from their headers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from lorkit.decompose.data.formats import dicom
from lorkit.decompose.data.formats.dicom_series import slices_of
from lorkit.decompose.errors import plural


class HeaderGroups(NamedTuple):
    """The group of each file, None where its header states none, and what the user should know.

    `names` are all by which other data may know the patient of each file: the id and the study that its header states.
    """

    groups: tuple[str | None, ...]
    notices: tuple[str, ...]
    names: tuple[tuple[str, ...], ...]

    @property
    def complete(self) -> bool:
        """Whether every file has a group."""
        return None not in self.groups


def patients_in_headers(paths: Sequence[Path]) -> HeaderGroups | None:
    """Return the patient of each file; None where no file is DICOM and states a patient or a study.

    An id that is empty, or the same in all files, says nothing about patients: the study is then used instead,
    or the patient whom another file of that study names.

    Raises:
        DataError: A header cannot be read.
    """
    rows = [_ids(path) for path in paths]
    stated = {patient for patient, _ in rows if patient}
    named = {study: patient for patient, study in rows if study and patient} if len(stated) > 1 else {}
    groups: list[str | None] = []
    for patient, study in rows:
        known = patient if len(stated) > 1 and patient else named.get(study)
        groups.append(known or (_study(study) if study else None))
    if not any(groups):
        return None
    notices = _notices([patient for patient, study in rows if study], groups)
    names = tuple((*filter(None, (patient,)), *map(_study, filter(None, (study,)))) for patient, study in rows)
    return HeaderGroups(tuple(groups), tuple(notices), names)


def _study(uid: str) -> str:
    return f"study {uid}"


def _notices(patients: Sequence[str], groups: Sequence[str | None]) -> list[str]:
    notices, empty, unknown = [], sum(not patient for patient in patients), groups.count(None)
    if patients and len({patient for patient in patients if patient}) <= 1:
        reason = "is empty" if empty == len(patients) else "is the same in all files"
        notices.append(f"PatientID {reason}: studies (StudyInstanceUID) are used instead")
    elif empty:
        notices.append(f"PatientID is empty in {plural(empty, 'file')}: there the study is used instead")
    if unknown:
        notices.append(f"{plural(unknown, 'file')} without a patient: each is a group of its own")
    return notices


def _ids(path: Path) -> tuple[str, str]:
    """Return PatientID and StudyInstanceUID, empty where they are not stated; of a folder those of its first slice."""
    path = next(iter(slices_of(path)), path) if path.is_dir() else path
    if not path.is_file() or not dicom.accepts(path):
        return "", ""
    with dicom.refusing_damage(path):
        dataset = dicom.read_dataset(path, pixels=False)
        patient, study = (str(dataset.get(name) or "").strip() for name in ("PatientID", "StudyInstanceUID"))
    return patient, study
