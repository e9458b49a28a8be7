"""Tables of the commands on exports: bench, gate, export with auto, verify."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from lorkit.cli.output.tables import interval, line, table, warnings
from lorkit.decompose.data.preprocessing.stages import STAGES
from lorkit.decompose.errors import plural
from lorkit.decompose.regions import Case, words_of

if TYPE_CHECKING:  # a command shows one of them
    from lorkit.decompose.documents.bench import BenchDocument
    from lorkit.decompose.documents.export_results import ExportChoice
    from lorkit.decompose.documents.gate import Accuracy, GateDocument, Subset
    from lorkit.decompose.documents.measured import Subject
    from lorkit.decompose.documents.verify import Bisection, VerifyDocument

_FLIPS = 5


def benchmark(document: BenchDocument) -> None:
    """Print a bench: one row per export and setting, then the paired ratios."""
    on_gpu = any(row.device_median_ms is not None for row in document.exports)
    medians = ("median ms", "GPU median ms") if on_gpu else ("median ms",)
    timed = (*medians, "p90 ms", "p99 ms", "file to answer, ms", "first ms", f"{cases_of(document.exports)}/s", "MiB")
    columns = ("region", "owner", "target", "batch", "threads", *timed)
    rows = [
        [
            row.region,
            row.owner,
            f"{row.target} {row.precision}",
            row.batch,
            row.threads,
            row.median_ms,
            *([row.device_median_ms] if on_gpu else []),
            row.p90_ms,
            row.p99_ms,
            None if row.end_to_end is None else row.end_to_end.total_ms,
            row.first_ms,
            row.throughput,
            row.peak_mib,
        ]
        for row in document.exports
    ]
    table("latency", columns, rows)
    _volumes(document)
    ratios = [[row.path, interval(row.ratio, row.ci)] for row in document.comparisons]
    if ratios:
        table("ratio of latencies, against --against", ("export", "ratio"), ratios)
    warnings(document.warnings)


def _volumes(document: BenchDocument) -> None:
    """Print the seconds by stage of volumes that networks take window by window."""
    rows = []
    for row in document.exports:
        whole = row.end_to_end
        if whole is not None and whole.volume is not None:
            seconds = [whole.volume.stage_seconds.get(name) for name in STAGES]
            memory = (whole.volume.peak_mib, whole.volume.predicted_peak_mib)
            network = f"{row.owner} {row.target} {row.precision}"
            rows.append([row.region, network, whole.input, *seconds, whole.total_ms / 1e3, *memory])
    if rows:
        stages = [name.replace("_", " ") for name in STAGES]
        columns = ("region", "network", "volume", *stages, "all", "peak MiB", "predicted MiB")
        table("seconds from the file to the mask", columns, rows)


def verdicts(document: GateDocument) -> None:
    """Print a gate: one row per region, then its reasons."""
    columns = (
        "region",
        "verdict",
        "export",
        "latency ratio",
        "accuracy change",
        "allowed drop",
        "smallest decidable drop",
    )
    rows = [
        [
            name,
            row.verdict.upper(),
            f"{row.candidate.target} {row.candidate.precision}",
            interval(row.latency_test.ratio, row.latency_test.ci),
            _change(row.accuracy_test),
            row.accuracy_test.allowed,
            row.accuracy_test.decidable,
        ]
        for name, row in document.regions.items()
    ]
    table("candidate against baseline", columns, rows)
    _heads(document)
    _parts(document)
    _flips(document)
    for name, row in document.regions.items():
        for reason in row.reasons:
            line(f"{name}: {reason}")
    case: Case = next((row.candidate.case for row in document.regions.values()), "image")
    warnings(document.warnings, synthetic=document.synthetic, case=case)


def cases_of(exports: Sequence[Subject]) -> str:
    """Return what the networks of some exports take, in the plural."""
    return " or ".join(dict.fromkeys(words_of(row.case).cases for row in exports)) or "images"


def _change(block: Accuracy | Subset) -> str:
    """Format a drop as a change, candidate minus baseline, with its interval."""
    drop, ci = block.drop, block.ci
    return interval(None if drop is None else 0.0 - drop, [0.0 - ci[1], 0.0 - ci[0]] if ci else None)


def _heads(document: GateDocument) -> None:
    """Print one row per head of a network for several regions, whose worst one counts."""
    rows = [
        [name, region, head.verdict.upper(), _change(test), test.allowed, test.n]
        for name, block in document.regions.items()
        for region, head in block.head_verdicts.items()
        for test in [head.accuracy_test]
    ]
    if rows:
        columns = ("network", "region", "verdict", "accuracy change", "allowed drop", "n")
        table("accuracy by region of the networks for several", columns, rows)


def _judged(document: GateDocument) -> Iterator[tuple[str, Accuracy]]:
    """Yield each accuracy test with its region, and the network if that is for several."""
    for name, block in document.regions.items():
        if block.head_verdicts:
            yield from ((f"{name}: {region}", head.accuracy_test) for region, head in block.head_verdicts.items())
        else:
            yield name, block.accuracy_test


def _parts(document: GateDocument) -> None:
    """Print one row per judged structure and subgroup."""
    rows = [
        [
            region,
            part.title,
            part.verdict.replace("_", " ").upper(),
            _change(part),
            part.n,
            part.groups,
            part.p_worse_holm,
            part.p_within_holm,
        ]
        for region, block in _judged(document)
        for part in block.subsets
    ]
    if rows:
        columns = ("region", "part", "verdict", "accuracy change", "n", "groups", "p worse", "p within")
        table("structures and subgroups (p: Holm, over all rows)", columns, rows)


def _flips(document: GateDocument) -> None:
    """Print the cases whose answer changed, worst first, a few of each region."""
    rows, left = [], 0
    for region, block in _judged(document):
        found = block.changed_answers
        left += max(0, len(found) - _FLIPS)
        rows += [
            [region, flip.case[:12], flip.truth, flip.baseline, flip.candidate, flip.outcome] for flip in found[:_FLIPS]
        ]
    if rows:
        table("changed predictions", ("region", "case", "truth", "baseline", "candidate", "change"), rows)
    if left:
        line(f"{plural(left, 'more case')} changed; all are in --json and in measurements/gate.json of the run")


def replacements(document: GateDocument) -> list[str]:
    """Return a line for each baseline that a gate replaced, if requested."""
    entries = document.replaced_baselines
    if entries is None:
        return []
    if not entries:
        return [f"baselines unchanged: the verdict is {document.verdict.upper()}; --because TEXT replaces them anyway"]
    said = []
    for entry in entries:
        new, old = entry.by[:12], (entry.replaced or "")[:12]
        change = "unchanged" if old == new else f"{old} replaced by {new}" if old else f"{new} stored, the first one"
        said.append(f"baseline {entry.key}: {change}")
    return said


def candidates(choices: Mapping[str, ExportChoice]) -> None:
    """Print the trials of `auto`: one row per candidate, with the reason."""
    rows = [
        [
            region,
            f"{row.target} {row.precision}",
            row.verdict,
            interval(None, None) if row.latency_test is None else interval(row.latency_test.ratio, row.latency_test.ci),
            interval(None, None)
            if row.accuracy_test is None
            else interval(row.accuracy_test.drop, row.accuracy_test.ci),
            row.reason,
        ]
        for region, choice in choices.items()
        for row in choice.candidates
    ]
    if rows:
        columns = ("region", "candidate", "", "time", "drop", "because")
        (first, *_) = choices.values()
        # the result is the path of the export
        table(f"candidates against {first.baseline} fp32", columns, rows, result=False)


def parity(document: VerifyDocument) -> None:
    """Print a verification: one row per export."""
    columns = ("region", "owner", "target", "status", "largest difference", "allowed", "flips", "Dice", "inputs")
    rows = [
        [
            row.region,
            row.owner,
            f"{row.target} {row.precision}",
            row.status,
            _difference(row.max_abs),
            _difference(row.tolerance),
            row.label_flips if row.dice is None else f"{row.flip_rate:.1e} of pixels",
            row.dice,
            f"{row.n} {words_of(row.case).made if row.inputs == 'phantom' else row.inputs}",
        ]
        for row in document.exports
    ]
    table("exports against their networks", columns, rows)
    outputs = [
        [row.region, f"{row.target} {row.precision}", name, _difference(one.max_abs), _difference(one.tolerance),
         one.label_flips if one.dice is None else f"{one.flip_rate:.1e} of pixels", one.dice]
        for row in document.exports
        for name, one in row.by_output.items()
    ]  # fmt: skip
    if outputs:
        names = ("network", "target", "output", "largest difference", "allowed", "flips", "Dice")
        table("outputs of the networks for several regions", names, outputs)
    for row in document.exports:
        if row.bisection is not None:
            line(f"{row.path}: {_first_wrong(row.bisection)}")
    warnings(document.warnings)


def _first_wrong(cut: Bisection) -> str:
    if cut.reason is not None:
        return f"not bisected: {cut.reason}"
    if cut.layer is None:
        return f"no layer differs by more than {cut.limit:.1e} of its largest value"
    sides = [_difference(cut.layer_error), _difference(cut.before)]
    return f"first wrong layer {cut.layer} ({cut.op}): {sides[0]} of its largest value, {sides[1]} before it"


def _difference(value: float | None) -> str:
    return "not a number" if value is None else f"{value:.1e}"
