"""`decompose gate`: are the experts fast and accurate enough to replace the foundation model?"""

from __future__ import annotations

import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeAlias

import typer

from lorkit.cli import options

if TYPE_CHECKING:
    from lorkit.decompose.documents.gate import GateDocument
    from lorkit.export.gating.limits import Fractions


class Policy(StrEnum):
    """Effect of an inconclusive verdict on the exit code."""

    inconclusive = "inconclusive"
    passes = "pass"
    fails = "fail"


Baseline: TypeAlias = Annotated[
    Path | None,
    typer.Option(
        metavar="PATH",
        help="Baseline export, or a store of baselines. Default: exports of the foundation.",
        callback=options.existing,
    ),
]
Candidate: TypeAlias = Annotated[
    Path | None,
    typer.Option(metavar="PATH", help="Candidate export. Default: exports of the experts.", callback=options.existing),
]
Drops: TypeAlias = Annotated[
    str, typer.Option(metavar="DROP", help="Allowed drop of accuracy, as a fraction. By region: 0.02,chest=0.01.")
]
LeastAccuracy: TypeAlias = Annotated[
    str | None,
    typer.Option(metavar="VALUE", help="Least accuracy of the experts, as a fraction. By region: 0.8,chest=0.9."),
]
LeastRecall: TypeAlias = Annotated[
    str | None,
    typer.Option(metavar="VALUE", help="Least recall of each class of the experts. By region: 0.7,chest=0.8."),
]
Subgroups: TypeAlias = Annotated[
    list[str] | None, typer.Option(metavar="COLUMN", help="Also judge each value of this column of the cases.")
]
Strict: TypeAlias = Annotated[
    bool,
    typer.Option(
        "--strict-subgroups", help="PASS also requires each structure and subgroup to be within the allowed drop."
    ),
]
StorePath: TypeAlias = Annotated[
    Path | None, typer.Option(metavar="STORE", help="On PASS, store the candidates as baselines here.")
]
Because: TypeAlias = Annotated[
    str | None, typer.Option(metavar="TEXT", help="Reason to store them although the verdict is not PASS.")
]
JUnit: TypeAlias = Annotated[Path | None, typer.Option(metavar="FILE", help="Write JUnit XML to this file.")]
Markdown: TypeAlias = Annotated[
    Path | None, typer.Option(metavar="FILE", help="Write Markdown for a pull request to this file.")
]
Margin: TypeAlias = Annotated[
    float, typer.Option(min=0, max=10, help="Allowed growth of latency, bytes and MACs, as a fraction.")
]
Annotations: TypeAlias = Annotated[
    bool, typer.Option("--annotations", help="Print workflow commands of GitHub Actions on stderr.")
]


def gate(
    run: options.RunName = None,
    baseline: Baseline = None,
    candidate: Candidate = None,
    region: options.RegionName = "all",
    target: options.TargetName = None,
    profile: options.ProfileName = None,
    precision: options.PrecisionName = None,
    margin: Margin = 0.03,
    max_accuracy_drop: Drops = "0.02",
    min_accuracy: LeastAccuracy = None,
    min_recall: LeastRecall = None,
    data: options.DataFile = None,
    subgroup: Subgroups = None,
    strict_subgroups: Strict = False,
    max_seconds: options.Seconds = 60.0,
    on_inconclusive: Annotated[Policy, typer.Option(help="Map exit code 3 to 0 or 1.")] = Policy.inconclusive,
    update_baseline: StorePath = None,
    because: Because = None,
    junit: JUnit = None,
    markdown: Markdown = None,
    annotations: Annotations = False,
    seed: options.Seed = 0,
    trust_native: options.TrustNative = False,
    as_json: options.Json = False,
) -> None:
    """Judge the experts against the foundation model by latency, accuracy, bytes and MACs.

    Exit codes: 0 PASS, 1 FAIL, 3 INCONCLUSIVE.
    """
    from lorkit.cli.output import export_tables, next_steps
    from lorkit.cli.output.progress import ProgressLine
    from lorkit.export import gate as judge
    from lorkit.export.gating.gating import exit_code

    with ProgressLine("gate") as progress:
        document = judge(
            run,
            baseline=baseline,
            candidate=candidate,
            region=region,
            target=target,
            profile=profile,
            precision=precision,
            margin=margin,
            max_accuracy_drop=_fractions("--max-accuracy-drop", max_accuracy_drop),
            min_accuracy=None if min_accuracy is None else _fractions("--min-accuracy", min_accuracy),
            min_recall=None if min_recall is None else _fractions("--min-recall", min_recall),
            data=data,
            subgroup=subgroup or (),
            strict_subgroups=strict_subgroups,
            max_seconds=max_seconds,
            on_inconclusive=on_inconclusive.value,
            update_baseline=update_baseline,
            because=because,
            seed=seed,
            on_event=progress,
        )
    export_tables.verdicts(document)
    publish(document, junit=junit, markdown=markdown, annotated=annotations)
    _conclude(document, as_json)
    next_steps.after_gate(candidate, run)
    raise typer.Exit(exit_code(document))


def _conclude(document: GateDocument, as_json: bool) -> None:
    """Tell which baselines were replaced, and print the verdict."""
    from lorkit.cli.output import export_tables
    from lorkit.cli.output.streams import print_json, print_result, print_status

    for text in export_tables.replacements(document):
        print_status(text)
    print_json(document) if as_json else print_result(f"gate: {document.headline}")


def _fractions(option: str, text: str) -> Fractions:
    from lorkit.export.gating.limits import parse_fractions

    return parse_fractions(option, text)


def publish(document: GateDocument, *, junit: Path | None, markdown: Path | None, annotated: bool) -> None:
    """Write the files for continuous integration."""
    from lorkit.export.gating import ci_files

    if junit is not None:
        ci_files.write_junit(document, junit)
    if markdown is not None:
        ci_files.write_markdown(document, markdown)
    for text in ci_files.workflow_commands(document) if annotated else ():
        print(text, file=sys.stderr)
