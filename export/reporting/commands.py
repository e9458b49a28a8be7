"""The commands that repeat a run, by verb, with the options that its documents hold."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping, Sequence

from lorkit.decompose.documents.bench import BenchDocument
from lorkit.decompose.documents.evaluate import EvaluateDocument
from lorkit.decompose.documents.expert import ExpertInfo
from lorkit.decompose.documents.export_results import ExportChoice
from lorkit.decompose.documents.gate import GateDocument
from lorkit.decompose.documents.heads import MIXTURES
from lorkit.decompose.runs import Run
from lorkit.export.gating.limits import ByRegion
from lorkit.export.runtime.exported import Exported


def train_command(run: Run, source: Run | None) -> str:
    """Return the command that trained a run; `source` is the run that it was made from, None if it is not here."""
    if run.given is not None:
        stated = ("--calibration", "DATA", "--recipe", "RECIPE", "--region", run.regions.names[0], "--out", run.place)
        return _line("export", run.given.source, *stated)
    config, origin = f"runs/{run.id}/config.yaml", run.manifest.extra.get("origin")
    if origin is None:
        return f"decompose train {config}"
    change, name = origin["change"], "RUN" if source is None else source.id
    if change == "finetune":
        return _line("train", config, "--from", f"runs/{name}/experts/{origin['region']}")
    if change == "add-region":
        return _line("train", config, "--from", name, "--add-region", origin["region"])
    left = [] if source is None else [one for one in source.regions.names if one not in run.regions.names]
    return _line("train", "--from", name, "--remove-region", *(left or ["NAME"]))


def extract_commands(run: Run, experts: Mapping[str, ExpertInfo | None]) -> list[str]:
    """Return the commands that extracted experts, by region or form of mixture; mixtures have no document here."""
    ways: dict[tuple[str, ...], list[str]] = {}
    for name, info in experts.items():
        if name not in MIXTURES:
            ways.setdefault(() if info is None else _of_expert(info), []).append(name)
    regions = [
        _line("extract", "--run", run.selector, *(_regions(names, run.regions.names) or ("--region", "all")), *way)
        for way, names in ways.items()
    ]
    return regions + [_line("extract", "--run", run.selector, f"--{name}") for name in MIXTURES if name in experts]


def _of_expert(info: ExpertInfo) -> tuple[str, ...]:
    rank = () if info.reduction is None else ("--rank", str(info.reduction.rank))
    return (*(("--recalibrate",) if info.recalibrated else ()), *rank)


def evaluate_commands(run: Run, documents: Iterable[EvaluateDocument]) -> list[str]:
    """Return the commands that made evaluations."""
    return [
        _line(
            *("evaluate", "--run", run.selector),
            *_regions(document.regions, run.regions.names),
            *("--model", document.model),
            *(() if document.split == "data" else ("--split", document.split)),
            *(() if document.data is None else ("--data", document.data.name)),
            *(() if document.outside is None else ("--outside", document.outside.data.name)),
            *(("--flips",) if document.flips else ()),
        )
        for document in documents
    ]


def export_commands(run: Run, exports: Sequence[Exported], choices: Mapping[str, Sequence[ExportChoice]]) -> list[str]:
    """Return the commands that measured the choices of `auto`, by region, and then those that made the exports."""
    everything = [*run.regions.names, *(name for name in MIXTURES if name in {one.key[0] for one in exports})]
    tried: dict[tuple[str, ...], list[str]] = {}
    for region, some in choices.items():
        for one in some:
            limits = ("--max-accuracy-drop", f"{one.conditions.max_accuracy_drop:.15g}")
            time = ("--max-seconds", f"{one.conditions.seconds:.15g}")
            # sizes that did not fit are not repeated
            load = ("--batch", ",".join(map(str, one.conditions.batches)), "--threads", str(one.conditions.threads))
            built = _build(one.target_option, one.profile, one.precision_option)
            tried.setdefault((*built, *limits, *time, *load), []).append(region)
    made: dict[tuple[str, ...], list[str]] = {}
    for export in exports:
        region, target, profile, precision = export.key
        made.setdefault(_build(target, profile, precision), []).append(region)
    # the target that refuses them; a region has one kind of images
    drawn = {"triton"} if any(export.synthetic for export in exports) else set[str]()
    return [
        _line(
            *("export", "--run", run.selector, *way, *_regions(names, everything)),
            *(("--allow-synthetic",) if way[1] in drawn else ()),
        )
        for way, names in (*tried.items(), *made.items())
    ]


def _build(target: str, profile: str, precision: str) -> tuple[str, ...]:
    return ("--target", target, "--profile", profile, "--precision", precision)


def bench_commands(run: Run, document: BenchDocument | None) -> list[str]:
    """Return the commands that timed exports, the oldest first; `report` repeats what it timed itself."""
    rows = sorted([] if document is None else document.exports, key=lambda row: row.measured or "")
    ways = dict.fromkeys(tuple(row.options) for row in rows if row.options is not None)
    return [_line("bench", "--run", run.selector, *way) for way in ways]


def gate_commands(run: Run, gate: GateDocument | None) -> list[str]:
    """Return the commands that judged the regions, the oldest first; without a gate the one that judges them all.

    A gate of before options were stored is repeated with the limits that it states.
    """
    blocks = [] if gate is None else sorted(gate.regions.values(), key=lambda block: block.created or "")
    ways = dict.fromkeys(tuple(block.options) for block in blocks if block.options is not None)
    stated = [_line("gate", "--run", run.selector, *way) for way in ways]
    if blocks and all(block.options is not None for block in blocks):
        return stated
    limits = "" if gate is None else _limits(gate)
    return [f"decompose gate --run {run.selector}{chosen}{limits}" for chosen in _baselines(run, gate)] + stated


def _baselines(run: Run, gate: GateDocument | None) -> list[str]:
    """Return the options that name the baselines of a gate; without a foundation it has none of its own."""
    if run.has_foundation or run.given is not None:
        return [""]
    if gate is None:
        return [" --baseline EXPORT"]
    paths = {name: block.baseline.path for name, block in gate.regions.items() if block.baseline.path is not None}
    if len(paths) == 1:
        return [f" --baseline {shlex.quote(path)}" for path in paths.values()]
    return [f" --region {name} --baseline {shlex.quote(path)}" for name, path in paths.items()]


def _limits(gate: GateDocument) -> str:
    drops = [f"{gate.max_accuracy_drop:g}", *(f"{name}={drop:g}" for name, drop in gate.max_accuracy_drops.items())]
    accuracies = [block.accuracy_test for block in gate.regions.values()]
    columns = dict.fromkeys(row.column for one in accuracies for row in one.by_subgroup if row.column is not None)
    said = f" --margin {gate.margin:g} --max-accuracy-drop {','.join(drops)}"
    for option, least in (("--min-accuracy", gate.min_accuracy), ("--min-recall", gate.min_recall)):
        said += f" {option} {ByRegion.of(least)}" if least else ""
    said += f" --seed {gate.seed}"
    said += "".join(f" --subgroup {shlex.quote(column)}" for column in columns)
    return said + (" --strict-subgroups" if any(one.strict for one in accuracies) else "")


def _regions(names: Iterable[str], everything: Iterable[str]) -> tuple[str, ...]:
    """Return the option that names regions; none for all of them."""
    some = dict.fromkeys(names)
    return () if {*some} >= {*everything} else ("--region", ",".join(some))


def _line(verb: str, *words: str) -> str:
    return f"decompose {verb} {shlex.join(words)}"
