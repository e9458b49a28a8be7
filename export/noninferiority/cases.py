"""The cases of the accuracy test: the same for both networks, and none that either was trained or tuned on.

Two versions of an expert can come from runs with different splits: a test case of one may be a training case of the
other. Such cases are excluded and counted, with all other cases of their patients. Cases with identical images count as
one patient, because a repeated image adds no information.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from lorkit.decompose.artifacts.keys import DirectoryKey
from lorkit.decompose.data.keyed_digests import digest_cases, keyed_digests
from lorkit.decompose.data.samples.pseudonyms import RUNS
from lorkit.decompose.data.splits import components
from lorkit.decompose.documents.gate import CaseSet, Side
from lorkit.decompose.errors import DataError, plural
from lorkit.decompose.runs.locked_data import RunSplits, prepare_file
from lorkit.export.runtime.exported import ExportPair

if TYPE_CHECKING:
    from lorkit.decompose.data.prepared import PreparedRegion
    from lorkit.decompose.documents.recipe import Recipe


@dataclass(frozen=True, kw_only=True)
class EvaluationCases:
    """Cases of the accuracy test.

    Attributes:
        read: Reads and prepares all of them with the recipe of an engine.
        source: Their source, for documents.
        seen: By side, the images that it was trained on, by their plain digests; None if unknown.
        unknown_ancestors: Sides trained on more than `seen`, in a run that was not found, or whose key was not.
        key: Key of the digests in documents.
    """

    read: Callable[[Recipe], PreparedRegion]
    source: str
    seen: Mapping[Side, Container[str] | None] = field(default_factory=dict)
    unknown_ancestors: frozenset[str] = frozenset()
    key: DirectoryKey = field(default_factory=lambda: DirectoryKey(RUNS))

    def prepare(self, pair: ExportPair) -> tuple[PreparedRegion, PreparedRegion, CaseSet]:
        """Prepare the remaining cases for baseline and candidate, and describe those that were excluded.

        Returns:
            The cases for each side, whose digests are keyed for documents, and their description.

        Raises:
            DataError: There is no case, or each was used to train one side.
        """
        one, two = pair.baseline.recipe, pair.candidate.recipe
        baseline = _group_duplicates(self.read(one))
        if not len(baseline):
            raise DataError(f"no case in {self.source}", required="at least one", fix="name another file with --data")
        candidate = baseline if one == two else _group_duplicates(self.read(two))
        kept, excluded = self._kept(baseline)
        same = candidate is baseline
        if len(kept) < len(baseline):
            baseline = baseline.take(kept)
            candidate = baseline if same else candidate.take(kept)
        about = CaseSet(
            digest=digest_cases(baseline.digests, baseline.target_names, self.key),
            key=self.key.name,
            n=len(baseline),
            groups=len(set(baseline.groups)),
            excluded=excluded,
            unknown=[side for side, known in self.seen.items() if known is None or side in self.unknown_ancestors],
        )
        digests = tuple(keyed_digests(baseline.digests, self.key))
        baseline = replace(baseline, digests=digests)
        return baseline, baseline if same else replace(candidate, digests=digests), about

    def _kept(self, prepared: PreparedRegion) -> tuple[list[int], dict[str, int]]:
        """Return the cases of patients that neither side was trained on, and the number of others by reason."""
        trained = {side: () if known is None else known for side, known in self.seen.items()}
        direct = [any(digest in known for known in trained.values()) for digest in prepared.digests]
        tainted = {group for group, was in zip(prepared.groups, direct, strict=True) if was}
        kept = [index for index, group in enumerate(prepared.groups) if group not in tainted]
        if not kept:
            raise DataError(
                f"baseline or candidate was trained on the {prepared.region.words.groups} of all "
                f"{plural(len(prepared), 'case')} of {self.source}",
                required="cases that neither was trained or tuned on",
                fix="name others with --data",
            )
        excluded = {side: sum(digest in known for digest in prepared.digests) for side, known in trained.items()}
        same = {"same_patients": len(prepared) - len(kept) - sum(direct)}
        return kept, {str(side): count for side, count in excluded.items()} | same


def _group_duplicates(prepared: PreparedRegion) -> PreparedRegion:
    """Give cases that share a group or are the same image one group."""
    if not len(prepared):
        return prepared
    groups = list(prepared.groups)
    for tied in components(prepared.groups, prepared.digests):
        for index in tied.tolist():
            groups[index] = prepared.groups[int(tied[0])]
    return replace(prepared, groups=tuple(groups))


def cases_of_file(path: Path, pair: ExportPair) -> EvaluationCases:
    """Return every row of a file as cases, classes matched by name."""
    return EvaluationCases(read=lambda recipe: prepare_file(path, pair.candidate.region, recipe), source=str(path))


def cases_of_split(run_splits: RunSplits, region: str, part: str = "test") -> EvaluationCases:
    """Return a locked part of a run as cases, found by the digests of its images.

    Raises:
        DataError: The data of the run is missing or has changed.
    """
    run_splits.samples(region)  # raises here if the data is missing
    name = {"test": "locked test split", "val": "validation part", "train": "training part"}[part]
    return EvaluationCases(
        read=lambda recipe: run_splits.part(region, part, recipe=recipe),
        source=f"{name} of {run_splits.run.id}",
        key=run_splits.key,
    )
