"""The store of baselines: the current export of each region, by digest, and all replacements.

A store is a directory:

    baselines.json      current baselines by region, target, profile and precision, and all replacements
    exports/<digest>/   the exports, each under the digest of its manifest

Exports are only added. The record is small and belongs into version control; the exports can be in a cache or an
artifact store and be fetched by digest: a missing or changed one is an error.
"""

from __future__ import annotations

import datetime
import getpass
import os
import platform
import shutil
from collections.abc import Iterable
from pathlib import Path

from lorkit.decompose.artifacts import MANIFEST, digest_file, exclusive
from lorkit.decompose.artifacts.keys import KEY_FILE
from lorkit.decompose.documents.base import Verdict
from lorkit.decompose.documents.baselines import BaselineRecord, Replacement
from lorkit.decompose.documents.gate import CaseSet, GateDocument, GateRegion
from lorkit.decompose.documents.measured import Subject
from lorkit.decompose.errors import ArtifactError, UsageError
from lorkit.export.runtime.exported import Exported, read_exported

RECORD, EXPORTS = "baselines.json", "exports"
_WHO = ("GITHUB_ACTOR", "GITLAB_USER_LOGIN")
_COMMIT = ("GITHUB_SHA", "CI_COMMIT_SHA")


def is_store(path: Path) -> bool:
    """Return whether a directory is a store of baselines."""
    return (path / RECORD).is_file()


def read_record(store: Path) -> BaselineRecord:
    """Return the record of a store, empty if there is none; raise ArtifactError if it is damaged."""
    if not is_store(store):
        return BaselineRecord(current={}, history=[])
    return BaselineRecord.read(store / RECORD, fix="restore it from version control")


def current_baselines(store: Path) -> list[Exported]:
    """Open every current baseline.

    Raises:
        ArtifactError: One is not in the store, is damaged, or does not have its digest.
    """
    return [_open(store, key, digest) for key, digest in sorted(read_record(store).current.items())]


def replace_baseline(
    store: Path,
    candidate: Exported,
    verdict: Verdict,
    *,
    because: str | None = None,
    cases: CaseSet | None = None,
    against: str | None = None,
) -> Replacement:
    """Make a candidate the baseline of its region, target, profile and precision.

    Args:
        store: The store, created if missing.
        candidate: The judged export.
        verdict: Verdict of the gate.
        because: Reason to replace the baseline although the verdict is not PASS.
        cases: The cases of its accuracy test.
        against: Digest of the baseline that it was compared with; None without one.

    Returns:
        The entry of the history.

    Raises:
        UsageError: The verdict is not PASS, or the candidate was compared with another baseline than the current one,
            without a reason.
        BusyError: Another process is changing the store.
    """
    if verdict != "pass" and not (because or "").strip():
        raise UsageError(
            f"the verdict on {' '.join(candidate.key)} is {verdict.upper()}",
            required="PASS, or a reason to replace the baseline anyway",
            fix="give it with --because, or keep the baseline",
        )
    key, digest = "/".join(candidate.key), candidate.manifest.digest
    with exclusive(store):
        record = read_record(store)
        replaced = record.current.get(key)
        if against and not (because or "").strip() and replaced not in (None, digest, against):
            raise _other_baseline(store, key)
        _copy_into_store(store, candidate)
        entry = Replacement(
            key=key,
            replaced=replaced,
            by=digest,
            verdict=verdict,
            because=because,
            case_digest=None if cases is None else cases.digest,
            case_key=None if cases is None else cases.key,
            who=_first_set(_WHO) or _user(),
            commit=_first_set(_COMMIT),
            when=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        )
        if replaced == digest:
            return entry
        current, history = record.current | {key: digest}, [*record.history, entry]
        record.with_changes(current=current, history=history).write(store / RECORD)
    return entry


def replace_baselines(store: Path, document: GateDocument, because: str | None = None) -> list[Replacement]:
    """Replace baselines by all candidates of a gate if its verdict is PASS or a reason is given.

    Returns:
        The entries of the history; empty if nothing was replaced.
    """
    if document.verdict != "pass" and not (because or "").strip():
        return []
    judged = [(_reopen_judged(block.candidate), block) for block in document.regions.values()]
    return [
        replace_baseline(
            store,
            candidate,
            block.verdict,
            because=because,
            cases=block.accuracy_test.case_set,
            against=block.baseline.digest,
        )
        for candidate, block in judged
    ]


def check_replacing(
    store: Path | str | None, pairs: Iterable[tuple[Exported, Exported]], because: str | None = None
) -> None:
    """Raise UsageError, before judging, if a candidate would replace a baseline that it is not compared with.

    `pairs` are baselines with their candidates; a reason `because` allows it, and None as `store` replaces nothing.
    """
    if store is None or (because or "").strip():
        return
    store = Path(store)
    current = read_record(store).current
    for baseline, candidate in pairs:
        key = "/".join(candidate.key)
        if current.get(key) not in (None, candidate.manifest.digest, baseline.manifest.digest):
            raise _other_baseline(store, key)


def _other_baseline(store: Path, key: str) -> UsageError:
    return UsageError(
        f"{key} is the baseline in {store}, and the candidate was judged against another one",
        required="a verdict against the baseline to replace",
        fix=f"judge with --baseline {store}, or give the reason with --because",
    )


def _reopen_judged(about: Subject) -> Exported:
    found = read_exported(Path(str(about.path)))
    if found.manifest.digest != about.digest:
        raise ArtifactError(
            f"{found.path} is no longer the export that was judged",
            required="the same export",
            fix="run the gate again",
        )
    return found


def other_cases(store: Path, baseline: Exported, block: GateRegion) -> str | None:
    """Return a warning if a baseline was stored with other cases than those of this gate."""
    entries = [entry for entry in read_record(store).history if entry.by == baseline.manifest.digest]
    last, about = (entries[-1] if entries else None), block.accuracy_test.case_set
    if last is None or last.case_digest is None or about is None or last.case_digest == about.digest:
        return None
    then, now = last.case_digest, about.digest
    if last.case_key != about.key:
        return (
            f"region {baseline.region.name}: its baseline was stored on cases of another key, so it is unknown whether"
            f" the case sets are the same: judge both with the same --data and the same {KEY_FILE}"
        )
    return (
        f"region {baseline.region.name}: judged on the cases {now[:12]}; its baseline was stored on {then[:12]}:"
        " the two verdicts are of different case sets"
    )


def _copy_into_store(store: Path, candidate: Exported) -> None:
    """Copy an export into the store and check the copy before it is recorded."""
    place = store / EXPORTS / candidate.manifest.digest
    if place.is_dir():
        _open(store, "/".join(candidate.key), candidate.manifest.digest)
        return
    place.parent.mkdir(parents=True, exist_ok=True)
    for left in place.parent.glob(".*"):  # of a killed process: no other process copies while the lock is held
        shutil.rmtree(left, ignore_errors=True)
    staging = place.with_name(f".{place.name}.{os.getpid()}")
    try:
        shutil.copytree(candidate.path, staging)
        read_exported(staging)
        os.replace(staging, place)
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _open(store: Path, key: str, digest: str) -> Exported:
    place = store / EXPORTS / digest
    if not place.is_dir():
        raise ArtifactError(
            f"baseline {key} ({digest[:12]}) is not in {store / EXPORTS}",
            required="the export with this digest",
            fix=f"fetch it to {place} from where the store is kept",
        )
    if not (place / MANIFEST).is_file() or digest_file(place / MANIFEST) != digest:
        raise ArtifactError(
            f"{place} is not the export of that digest", required="the unchanged export", fix="fetch it again"
        )
    found = read_exported(place)
    if "/".join(found.key) != key:
        raise ArtifactError(
            f"{place} is {'/'.join(found.key)}, and {RECORD} names it as {key}",
            required="a baseline of that key",
            fix=f"restore {RECORD} from version control",
        )
    return found


def _user() -> str:
    try:
        name = getpass.getuser()
    except (KeyError, OSError):  # users of containers may have no name
        name = str(os.getuid())
    return f"{name}@{platform.node()}"


def _first_set(names: tuple[str, ...]) -> str | None:
    return next((os.environ[name] for name in names if os.environ.get(name)), None)
