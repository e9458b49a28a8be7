"""The gate: whether a candidate may replace a baseline, by deterministic costs, latency and accuracy.

Nothing is compared with stored measurements: both networks run now, interleaved, on this machine. A verdict is PASS or
FAIL only if the measurements exclude the other; else it is INCONCLUSIVE.
"""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from lorkit.decompose.artifacts.manifest import check_unchanged
from lorkit.decompose.documents.gate import GateDocument, GateRegion
from lorkit.decompose.errors import UsageError
from lorkit.decompose.events import Listener, Working, ignore
from lorkit.decompose.machine import fingerprint, tool_versions
from lorkit.decompose.runs import ExportSelection, Run
from lorkit.decompose.runs.keeping import kept
from lorkit.decompose.runs.lineage import RunFinder
from lorkit.decompose.runs.store import missing_baseline
from lorkit.export.gating.baselines import check_replacing, is_store, other_cases, read_record, replace_baselines
from lorkit.export.gating.gate_cases import GateCases
from lorkit.export.gating.limits import ANY, DROP, Fractions, Limits, limits_of, worst
from lorkit.export.gating.pairing import GateExports, pair_exports
from lorkit.export.gating.record import store_verdicts
from lorkit.export.gating.region_verdict import judge_heads, judge_region, unjudged_region, with_verdicts
from lorkit.export.noninferiority.accuracy import AccuracyTest
from lorkit.export.runtime.exported import Exported, ExportPair, read_exported
from lorkit.export.runtime.given_options import options_given

_NOT_IN_STORE = (
    "{store} has no baseline of this region: judge it without --baseline, against the foundation, and store it with"
    " --update-baseline; or store it now with --because"
)
_NO_FOUNDATION_EXPORT = "the foundation is not exported for this region, or for all of these: run `decompose export`"


def gate(
    run: Path | str | None = None,
    *,
    baseline: Path | str | None = None,
    candidate: Path | str | None = None,
    region: str | None = None,
    target: str | None = None,
    profile: str | None = None,
    precision: str | None = None,
    margin: float = 0.03,
    max_accuracy_drop: Fractions = DROP,
    min_accuracy: Fractions | None = None,
    min_recall: Fractions | None = None,
    data: Path | str | None = None,
    subgroup: Sequence[str] = (),
    strict_subgroups: bool = False,
    max_seconds: float = 60.0,
    on_inconclusive: str = "inconclusive",
    update_baseline: Path | str | None = None,
    because: str | None = None,
    seed: int = 0,
    on_event: Listener = ignore,
) -> GateDocument:
    """Judge candidates against baselines.

    Args:
        run: The run, by path or id; by default the newest, or that of a named export.
        baseline: An export directory, or a store of baselines; the run's foundation exports by default.
        candidate: An export directory; the run's expert exports by default.
        region: Regions of the run, separated by commas.
        target: Only exports of this target.
        profile: Only exports for this profile.
        precision: Only exports of this precision.
        margin: Allowed growth of latency, bytes and MACs.
        max_accuracy_drop: Allowed drop of balanced accuracy, or of mean Dice; by region, `*` for all others.
        min_accuracy: Least balanced accuracy, or mean Dice, of the candidate; none by default.
        min_recall: Least recall of each class or structure of the candidate; none by default.
        data: Cases for the accuracy test; the run's locked test split by default.
        subgroup: Columns of the cases whose values are judged as subgroups.
        strict_subgroups: PASS needs every structure and subgroup shown to be within the allowed drop.
        max_seconds: Time for all latency measurements together; unused time goes to the next region.
        on_inconclusive: Stored in the document for `exit_code`; does not change the verdict.
        update_baseline: A store in which the candidates become the baselines if the verdict is PASS.
        because: Reason to replace baselines with another verdict; recorded.
        seed: Seed of inputs, orders and intervals.
        on_event: Receives progress.

    Returns:
        The document of the gate. If there is a run, its `measurements/gate.json` gets these verdicts and keeps those on
        other regions.

    Raises:
        UsageError: Invalid options, or nothing to compare.
        DataError: The file of `data`, or the run's data, cannot be used.
    """
    stated = dict(locals())
    limits = limits_of(
        margin, max_accuracy_drop, max_seconds, on_inconclusive, min_accuracy=min_accuracy, min_recall=min_recall
    )
    paths = [None if path is None else Path(path) for path in (baseline, candidate)]
    named = paths[1] or (None if paths[0] is None or is_store(paths[0]) else paths[0])
    finder = RunFinder()
    home = _find_run(run, named, finder, alone=None not in paths)
    selection = ExportSelection(region=region, target=target, profile=profile, precision=precision)
    reason = missing_baseline(home) if paths == [None, None] else None
    exports = GateExports(home, selection, baseline=paths[0], candidate=paths[1])
    pairs = [] if reason else pair_exports(exports)
    each = [one.region for pair in pairs for one in pair.heads or (pair,)]
    limits.check_regions([*(home.regions.names if home else ()), *each])
    if data is not None and len(pairs) > 1:
        raise UsageError(f"--data {data} for {len(pairs)} regions", required="one region", fix="name it with --region")
    check_replacing(update_baseline, [(pair.baseline, pair.candidate) for pair in pairs], because)
    left = _candidates_without_baseline(exports, pairs, reason)
    pictures = home is not None and home.config.privacy.embed_images is True
    columns = tuple(dict.fromkeys(subgroup))
    shared = AccuracyTest(allowed=DROP, seed=seed, columns=columns, strict=strict_subgroups, pictures=pictures)
    measured = _judge(pairs, GateCases(home, finder, data), shared, limits, max_seconds, on_event)
    why = reason or (_NO_FOUNDATION_EXPORT if paths[0] is None else _NOT_IN_STORE.format(store=paths[0]))
    regions = {one.region.name: unjudged_region(one, why, limits) for one in left} | with_verdicts(measured)
    warnings = _baselines_without_candidate(exports)
    if (store := exports.store) is not None:
        found = (other_cases(store, pair.baseline, regions[pair.region]) for pair in pairs)
        warnings += [text for text in found if text is not None]
    document = _document(pairs, home, limits, regions, any(one.synthetic for one in left), warnings, stated)
    try:
        if update_baseline is not None:
            replaced = replace_baselines(Path(update_baseline), document, because)
            document = document.with_changes(replaced_baselines=replaced)
    finally:  # replacing baselines may fail; the verdict is kept
        lost = [] if home is None else kept(home, lambda: store_verdicts(home, document), "The verdict")
    return document.with_changes(warnings=[*document.warnings, *lost])


def _judge(
    pairs: Sequence[ExportPair],
    cases: GateCases,
    shared: AccuracyTest,
    limits: Limits,
    seconds: float,
    on_event: Listener,
) -> dict[str, GateRegion]:
    """Measure the pairs one by one; unused time goes to the next."""
    regions = dict[str, GateRegion]()
    for index, pair in enumerate(pairs):
        on_event(Working(pair.region, index, len(pairs)))
        options = {"margin": limits.margin, "seconds": seconds / (len(pairs) - index)}
        judged = pair.heads or (pair,)
        tests = [_test_of(one.region, shared, limits) for one in judged]
        some = [cases.of(one) for one in judged]
        if pair.heads:
            found = judge_heads(pair.heads, some, tests, **options)
        else:
            found = judge_region(pair, some[0], tests[0], **options)
        seconds -= min(seconds, found.latency_test.seconds or 0.0)
        regions[pair.region] = found
        for subject in pair.sides.values():
            check_unchanged(subject.manifest)
    on_event(Working("done", len(pairs), len(pairs)))
    return regions


def _test_of(region: str, shared: AccuracyTest, limits: Limits) -> AccuracyTest:
    return replace(
        shared,
        allowed=limits.allowed(region),
        min_accuracy=limits.min_accuracy.value(region),
        min_recall=limits.min_recall.value(region),
    )


def exit_code(document: GateDocument, on_inconclusive: str | None = None) -> int:
    """Return the exit code of a gate: 0 PASS, 1 FAIL, 3 INCONCLUSIVE unless the policy maps it to 0 or 1."""
    if document.verdict == "inconclusive":
        return {"pass": 0, "fail": 1}.get(on_inconclusive or document.on_inconclusive, 3)
    return int(document.verdict != "pass")


def _find_run(run: Path | str | None, named: Path | None, finder: RunFinder, *, alone: bool) -> Run | None:
    """Find the run: the named one, else that of the named export, else the newest unless both exports are named."""
    if run is None:
        found = finder.of_export(read_exported(named).manifest) if named is not None else None
        if found is not None or alone:
            return found
    return finder.open(run)


def _candidates_without_baseline(exports: GateExports, pairs: list[ExportPair], reason: str | None) -> list[Exported]:
    """Return candidates of regions without a baseline: no export of the foundation, or none in the store.

    Raises:
        UsageError: There is no candidate.
    """
    if reason is not None and exports.run is not None:
        if not exports.candidates:
            raise UsageError(
                f"no expert export of that selection in {exports.run.path}",
                required="a candidate",
                fix="run `decompose extract` and `decompose export` first",
            )
        return exports.candidates
    if exports.baseline is not None and exports.store is None:
        return []
    judged = {pair.region for pair in pairs}
    return [one for one in exports.candidates if one.region.name not in judged]


def _baselines_without_candidate(exports: GateExports) -> list[str]:
    """Return warnings on stored baselines without a candidate in the selection."""
    store = exports.store
    if store is None or exports.candidate is not None:
        return []
    keys = {"/".join(one.key) for one in exports.candidates}
    return [
        f"{key} is a baseline in {store}, but the run has no such candidate: not judged."
        for key in sorted(read_record(store).current)
        if key not in keys and exports.selection.matches(*key.split("/"))
    ]


def _document(
    pairs: list[ExportPair],
    home: Run | None,
    limits: Limits,
    regions: dict[str, GateRegion],
    synthetic: bool,
    warnings: list[str],
    stated: dict[str, Any],
) -> GateDocument:
    """Return the document of a gate; `stated` are its arguments."""
    options = options_given(gate, stated, None if home is None else home.path)
    created = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    judged = any(pair.candidate.synthetic or pair.baseline.synthetic for pair in pairs)
    about = []
    if judged:
        words = pairs[0].candidate.region.words
        kind = "synthetic phantoms" if words.case == "image" else f"{words.made} {words.cases}"
        about = [f"Judged on {kind}. The result does not apply to {words.not_for}."]
    about += [
        f"region {name}: split by image: patients unknown. Images of one patient may be counted as independent cases."
        for name in sorted({pair.region for pair in pairs if pair.candidate.region.words.group == "image"})
    ]
    return GateDocument(
        warnings=[*about, *(_not_judged_text(pair) for pair in pairs if pair.not_judged), *warnings],
        created=created,
        verdict=worst(region.verdict for region in regions.values()),
        on_inconclusive=limits.on_inconclusive,
        margin=limits.margin,
        max_accuracy_drop=limits.allowed(ANY),
        max_accuracy_drops=dict(limits.drops.regions),
        min_accuracy=limits.min_accuracy.to_json(),
        min_recall=limits.min_recall.to_json(),
        seed=stated["seed"],
        run=None if home is None else home.id,
        run_regions=None if home is None else len(home.regions.names),
        synthetic=judged or synthetic,
        machine=fingerprint(),
        tools=tool_versions(),
        regions={name: block.with_changes(created=created, options=options) for name, block in regions.items()},
    )


def _not_judged_text(pair: ExportPair) -> str:
    _, target, profile, precision = pair.candidate.key
    return (
        f"region {pair.region}: {target} {profile} {precision} was judged. Other exports were not: "
        f"{', '.join(pair.not_judged)}. Choose one with --target, --profile and --precision."
    )
