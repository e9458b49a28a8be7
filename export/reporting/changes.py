"""Changes between two runs, by region: `report --against OLD`.

Accuracies are compared in pairs on the same cases if both runs have the same test cases; else the two numbers are shown
without an interval. Latencies were measured at different times; only a gate or a bench, which interleave both, can
compare them.
"""

from __future__ import annotations

from collections.abc import Iterator

from pydantic import JsonValue

from lorkit.decompose.documents.base import Verdict
from lorkit.decompose.documents.changes import (
    ChangedRegion,
    ChangedSetting,
    Changes,
    PairedChange,
    PairedChanges,
    ThenNow,
)
from lorkit.decompose.documents.report import ReportDocument, ReportedRun
from lorkit.decompose.documents.report_row import ReportRow
from lorkit.decompose.errors import LorkitError, fit_for_artifact
from lorkit.decompose.events import Listener, Working
from lorkit.decompose.runs import ExportSelection, Run, exports_of
from lorkit.decompose.runs.locked_data import RunSplits
from lorkit.export.noninferiority.accuracy import AccuracyTest, judge_accuracy
from lorkit.export.noninferiority.cases import cases_of_split
from lorkit.export.runtime.engine import load_opened
from lorkit.export.runtime.exported import Exported, ExportPair, read_exported
from lorkit.export.runtime.preference import export_preference

_SEED = 0


def changes(
    home: RunSplits, other: RunSplits, now: ReportDocument, then: ReportDocument, on_event: Listener
) -> Changes:
    """Compare the documents of two runs, and their experts' exports on the same cases.

    Args:
        home: Data of the reported run.
        other: Data of the run to compare with.
        now: Document of `home`.
        then: Document of `other`.
        on_event: Receives progress.
    """
    before, after = list(then.regions), list(now.regions)
    shared = [name for name in after if name in before]
    paired, rows = _PairedComparisons(home, other), []
    for index, name in enumerate(shared):
        on_event(Working(f"{name} against {other.run.id}", index, len(shared)))
        ours, theirs = _judged_export(home.run, name), _judged_export(other.run, name)
        change, reason = paired.compare(name, theirs, ours)
        old, new = _row(then, name, theirs), _row(now, name, ours)
        if old is not None and new is not None:
            verdict = ThenNow(then=_verdict(then, name), now=_verdict(now, name))
            rows.append(ChangedRegion(region=name, then=old, now=new, verdicts=verdict, paired=change, unpaired=reason))
    paired.store()
    return Changes(
        id=other.run.id,
        digest=other.run.manifest.digest,
        verdicts=ThenNow(then=_verdict(then), now=_verdict(now)),
        rows=rows,
        settings=_differing_settings(then.run_info, now.run_info),
        only_then=[name for name in before if name not in after],
        only_now=[name for name in after if name not in before],
    )


class _PairedComparisons:
    """Paired comparisons, stored in the run by the digests of both exports, because they need a pass over the cases."""

    def __init__(self, home: RunSplits, other: RunSplits) -> None:
        self.home, self.other = home, other
        self.path = home.run.measurements_dir / f"against-{other.run.manifest.digest[:12]}.json"
        self.known = PairedChanges.read(self.path, fix="remove it").pairs if self.path.is_file() else {}
        self.used: dict[str, PairedChange] = {}

    def compare(self, region: str, then: Exported | None, now: Exported | None) -> tuple[PairedChange | None, str]:
        """Return the change on the same cases, or None and the reason why it is undefined."""
        if then is None or now is None:
            return None, "not exported in both runs"
        if then.classes != now.classes:
            return None, f"other classes: {', '.join(then.classes)} then"
        if self.home.key_name(region) != self.other.key_name(region):
            return None, "the test cases of the runs are known by other keys: compare them by `gate --data`"
        if len({frozenset(splits.digests(region).get("test", ())) for splits in (self.home, self.other)}) > 1:
            return None, "the runs have different test splits"
        key = f"{then.manifest.digest}:{now.manifest.digest}"
        try:
            self.used[key] = self.known.get(key) or _measure(self.home, ExportPair(then, now))
        except LorkitError as error:
            return None, fit_for_artifact(error)
        return self.used[key], ""

    def store(self) -> None:
        """Write the paired comparisons that were used."""
        if self.used and self.used != self.known:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            PairedChanges(pairs=self.used).write(self.path, sealed=True)


def _measure(home: RunSplits, pair: ExportPair) -> PairedChange:
    cases, test = cases_of_split(home, pair.region), AccuracyTest(allowed=0.0, seed=_SEED)
    with load_opened(pair.baseline) as before, load_opened(pair.candidate) as after:
        block = judge_accuracy(pair, (before, after), cases, test)
    low, high = block.ci
    stated = {name: getattr(block, name) for name in ("label_flips", "flip_rate") if name in block.model_fields_set}
    return PairedChange(
        metric=block.metric,
        then=block.baseline,
        now=block.candidate,
        change=-block.drop,
        ci=(-high, -low),
        n=block.n,
        groups=block.groups,
        **stated,
    )


def _judged_export(run: Run, region: str) -> Exported | None:
    found = [read_exported(entry.path) for entry in exports_of(run, ExportSelection(region=region), owners=("expert",))]
    return max(found, key=lambda one: export_preference(one, run), default=None)


def _row(document: ReportDocument, region: str, judged: Exported | None) -> ReportRow | None:
    """Return the row of the judged export, else the first row of the region's expert."""
    rows = [row for row in document.table if (row.region, row.owner) == (region, "expert")]
    wanted = None if judged is None else judged.manifest.digest
    return next((row for row in rows if row.digest == wanted), rows[0] if rows else None)


def _verdict(document: ReportDocument, region: str | None = None) -> Verdict | None:
    """Return the verdict of the gate on a region, or its whole verdict."""
    gate = document.gate
    judged = gate if gate is None or region is None else gate.regions.get(region)
    return None if judged is None else judged.verdict


def _differing_settings(then: ReportedRun, now: ReportedRun) -> list[ChangedSetting]:
    """Compare settings by dotted key, without the location and time of the runs."""
    old, new = (
        dict(_leaves("", {"name": run.name, "method": run.method, "seed": run.seed, **run.configuration}))
        for run in (then, now)
    )
    keys = [key for key in dict.fromkeys([*old, *new]) if old.get(key) != new.get(key)]
    return [ChangedSetting(key=key, then=old.get(key), now=new.get(key)) for key in keys]


def _leaves(prefix: str, value: JsonValue) -> Iterator[tuple[str, JsonValue]]:
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from _leaves(f"{prefix}.{name}" if prefix else name, inner)
    else:
        yield prefix, value
