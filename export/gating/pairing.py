"""Exports that the gate compares: experts with the foundation model, or any two exports."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import cached_property
from pathlib import Path

from lorkit.decompose.documents.base import Owner
from lorkit.decompose.errors import UsageError
from lorkit.decompose.runs import ExportSelection, Run, exports_of
from lorkit.export.gating.baselines import current_baselines, is_store
from lorkit.export.runtime.exported import Exported, ExportPair, read_exported
from lorkit.export.runtime.preference import CANONICAL_TARGET, export_preference

AS_GIVEN = (CANONICAL_TARGET, "fp32")
"""Target and precision of the export that is a given network as it was given."""


class GateExports:
    """The exports that the gate may compare; each is listed and read once, on first use.

    Args:
        run: The run; None if both sides are named.
        selection: Which of its exports.
        baseline: An export directory or a store of baselines, instead of the run's foundation exports.
        candidate: An export directory, instead of the run's expert exports.
    """

    def __init__(
        self,
        run: Run | None,
        selection: ExportSelection,
        *,
        baseline: Path | None = None,
        candidate: Path | None = None,
    ) -> None:
        self.run, self.selection, self.baseline, self.candidate = run, selection, baseline, candidate
        self.store = baseline if baseline is not None and is_store(baseline) else None

    @cached_property
    def candidates(self) -> list[Exported]:
        """The candidates: the named export, else the expert exports of the run, of a given network all but itself."""
        if self.candidate:
            return [read_exported(self.candidate, self.selection)]
        found = self._selected("expert")
        # of a given network, the file as it was given is the baseline
        return [one for one in found if one.key[1::2] != AS_GIVEN] if self.begins else found

    @cached_property
    def baselines(self) -> list[Exported]:
        """The named export, all of the named store, else the foundation exports of the run."""
        if self.store is not None:
            return current_baselines(self.store)
        if self.baseline:
            return [read_exported(self.baseline, self.selection)]
        if self.begins and self.run is not None:
            return self._as_given(self.run)
        return self._selected("foundation")

    @property
    def begins(self) -> bool:
        """Whether the baseline is a network as lorkit was given it."""
        return self.baseline is None and self.run is not None and self.run.given is not None

    def _as_given(self, run: Run) -> list[Exported]:
        target, precision = AS_GIVEN
        entries = exports_of(run, ExportSelection(target=target, precision=precision), owners=("expert",))
        return [read_exported(entry.path, chained=True) for entry in entries]

    def _selected(self, owner: Owner) -> list[Exported]:
        if self.run is None:
            raise UsageError("no run", required="a run, or --baseline and --candidate", fix="name one with --run")
        selection = self.selection
        if owner != "expert" and any(one.info.mixture for one in self.candidates):
            selection = replace(selection, region=None)  # it is compared with those of each of its regions
        entries = exports_of(self.run, selection, owners=(owner,))
        return [read_exported(entry.path, chained=True) for entry in entries]


def pair_exports(exports: GateExports) -> list[ExportPair]:
    """Pair candidates with baselines, one pair per region.

    Without paths: the expert exports of the run with its foundation exports of the same target, profile and precision.
    A store of baselines has one for each of these. Candidates for several regions are paired head by head with the
    foundation exports of their regions, or with a stored export of the same kind. If a region was exported in several
    ways, the candidate that comes last by `export_preference` is used, one with a proven baseline before any without;
    the others, also those without a baseline, are listed in `not_judged`. There is no pair if a store has no baseline
    for any.

    Raises:
        UsageError: Nothing to compare, or two exports of different regions or classes.
    """
    candidates, run = exports.candidates, exports.run
    if exports.baseline is not None and exports.store is None:
        (named,) = exports.baselines
        pairs = [_pair(named, one) for one in candidates if exports.candidate or one.region.name == named.region.name]
    elif exports.begins:
        as_given = {one.info.profile: one for one in exports.baselines}
        pairs = [_pair(as_given[one.info.profile], one) for one in candidates if one.info.profile in as_given]
    else:
        by_key = {one.key: one for one in exports.baselines}
        found = (_pair_by_key(by_key, one) for one in candidates)
        pairs = [pair for pair in found if pair is not None]
    if not pairs and not (candidates and exports.store is not None):
        raise _nothing(exports)
    for one in (one for pair in pairs for one in pair.heads or (pair,)):
        _check(one)
    ordered = sorted(pairs, key=lambda pair: (pair.baseline.proven, *export_preference(pair.candidate, run)))
    best = {pair.region: pair for pair in ordered}
    paired = [pair.candidate for pair in ordered]
    alone = [one for one in candidates if all(one.path != other.path for other in paired)]
    return [
        replace(
            best[region],
            not_judged=tuple(" ".join(one.key[1:]) for one in (*alone, *paired) if one.region.name == region)[:-1],
        )
        for region in dict.fromkeys(pair.region for pair in pairs)
    ]


def _pair(baseline: Exported, candidate: Exported) -> ExportPair:
    """Pair two exports of the same region; those of several regions also head by head."""
    several = candidate.info.mixture is not None and baseline.key[0] == candidate.key[0]
    names = candidate.classes if several and baseline.classes == candidate.classes else ()
    heads = tuple(ExportPair(baseline.of_head(name), candidate.of_head(name)) for name in names)
    return ExportPair(baseline, candidate, heads=heads)


def _pair_by_key(by_key: Mapping[tuple[str, str, str, str], Exported], candidate: Exported) -> ExportPair | None:
    """Pair a candidate with the baseline of its key; one of several regions else with those of each of them."""
    own = by_key.get(candidate.key)
    if own is not None:
        return _pair(own, candidate)
    if candidate.info.mixture is None:
        return None
    by_region = [by_key.get((name, *candidate.key[1:])) for name in candidate.classes]
    known = [one for one in by_region if one is not None]
    if len(known) < len(by_region):
        return None
    heads = tuple(ExportPair(one, candidate.of_head(one.region.name)) for one in known)
    return ExportPair(known[0], candidate, heads=heads)


def _check(pair: ExportPair) -> None:
    if pair.baseline.region.name != pair.candidate.region.name or pair.baseline.classes != pair.candidate.classes:
        names = [f"{one.region.name} ({', '.join(one.classes)})" for one in (pair.baseline, pair.candidate)]
        several = pair.candidate.info.mixture is not None
        judge = f"judge it in its run: decompose gate --region {pair.candidate.region.name}"
        raise UsageError(
            f"baseline of {names[0]}, candidate of {names[1]}",
            required="exports of one region with the same classes",
            fix=f"{judge}, which compares each head with the foundation" if several else "name matching exports",
        )


def _nothing(exports: GateExports) -> UsageError:
    candidates, run = exports.candidates, exports.run
    where = f" in {run.path}" if run is not None else ""
    if run is not None and run.given is not None and exports.begins:
        return UsageError(
            f"no export{where} to compare with the network as it was given",
            required="another target or precision for the same profile, beside the target onnx in fp32",
            fix=f"run `decompose export {run.place} --precision int8`",
        )
    if run is not None and candidates and not run.has_foundation:
        return UsageError(
            f"run {run.id} has no foundation (method {run.config.method})",
            required="a baseline: another export of the region, or a store",
            fix="name it with --baseline",
        )
    return UsageError(
        f"no {'expert' if not candidates else 'matching baseline'} export of that selection{where}",
        required="a candidate and a baseline of the same region, target, profile and precision",
        fix="run `decompose extract` and `decompose export` first",
    )
