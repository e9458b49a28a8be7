"""The model card of an expert: its use, its measurements, and how to load it with torch alone."""

from __future__ import annotations

import yaml

from lorkit.decompose.config.student import SMALL_STEM
from lorkit.decompose.documents.expert import ExpertInfo, ExpertSource, Reduction
from lorkit.decompose.documents.network import MeasuredCheck
from lorkit.decompose.documents.scores import MultilabelScores, NodeScores, SegmentationScores
from lorkit.decompose.errors import plural
from lorkit.decompose.extraction.card_example import example, segments
from lorkit.decompose.extraction.expert_source import from_teachers

_NAMES = {
    "dice": "Dice (mean over structures)",
    "nsd": "Surface Dice (NSD)",
    "hd95": "HD95",
    "dice_network_grid": "Dice on the network's grid",
    "volume_bias": "Predicted minus true volume",
    "volume_bias_relative": "The same as a share of the true volume",
    "balanced_accuracy": "Balanced accuracy",
    "accuracy": "Accuracy",
    "auroc": "AUROC (mean, one against rest)",
    "ap": "Average precision (mean over labels)",
    "recall_at_k": "Recall among as many as are positive",
    "f1_macro": "F1 score (mean over classes)",
    "gmean": "Geometric mean of recalls",
    "ece": "Calibration error (15 bins)",
    "brier": "Brier score",
}


_SEVERAL = ("multilabel", "segmentation", "structures")
"""Tasks that give any number of their classes for an image."""


def model_card(info: ExpertInfo) -> str:
    """Return Markdown with YAML front matter, made from `expert.json` alone."""
    sections = [
        _front_matter(info),
        _title(info),
        _use(info),
        _data(info),
        _metrics(info),
        _loading(info),
        _limits(info),
    ]
    return "\n\n".join(sections) + "\n"


def _front_matter(info: ExpertInfo) -> str:
    results = [
        {"type": name, "name": label, "value": round(value, 4)}
        for name, label in _names(info).items()
        if (value := info.validation.value(name)) is not None
    ]
    dataset = {"name": f"{info.region}, validation split of the run", "type": "private"}
    task = {"type": _pipeline(info)}
    fields = {
        "license": "unknown",
        "library_name": "pytorch",
        "pipeline_tag": _pipeline(info),
        "tags": [
            *(["medical"] if info.recipe.nodes is None else ["graph"]),
            "lorkit",
            f"region:{info.region}",
            *(["synthetic"] if info.synthetic else []),
        ],
        "metrics": [result["type"] for result in results],
        "model-index": [
            {"name": f"{info.region}-expert", "results": [{"task": task, "dataset": dataset, "metrics": results}]}
        ],
    }
    return f"---\n{yaml.safe_dump(fields, sort_keys=False, allow_unicode=True)}---"


def _title(info: ExpertInfo) -> str:
    source = info.made_from
    mark = (
        f"\n\n> **Synthetic.** Trained on {info.words.cases} that a program made. It demonstrates the tool only."
        if info.synthetic
        else ""
    )
    taught = f"foundation {source.foundation_backbone}" if source.foundation_backbone else "without a foundation"
    return (
        f"# Expert for {info.region}{mark}\n\n"
        f"{_network(info)} that {_does(info)}"
        f"{' (' + info.modality + ')' if info.modality else ''}. Extracted from run `{source.run}`"
        f" (method {source.method}, {taught}{from_published_weights(source)}{from_teachers(source)})"
        f" as {_kind(info)}: {info.parameters:,} parameters, {info.macs:,} multiply-accumulates per {info.words.case}."
    )


def from_published_weights(source: ExpertSource) -> str:
    """Return which published weights the student started from, to end a list; empty for fresh ones."""
    digest = source.student_weights
    return f", student from published weights of SHA-256 `{digest}`" if digest else ""


def _kind(info: ExpertInfo) -> str:
    return "a plain network" if info.gated_layers is None else "a network with its router and adapters"


def _network(info: ExpertInfo) -> str:
    return f"A {_backbone(info)}" if info.recipe.nodes is None else f"A network `{info.backbone}`"


def _backbone(info: ExpertInfo) -> str:
    usual = info.backbone.removeprefix(SMALL_STEM)
    if usual == info.backbone:
        return usual
    return f"{usual} with a stem for small images (a first convolution of 3 x 3 with stride 1, and no pooling after it)"


def _pipeline(info: ExpertInfo) -> str:
    if info.recipe.nodes is not None:
        return "graph-ml"
    return "image-segmentation" if segments(info) else "image-classification"


def _does(info: ExpertInfo) -> str:
    if info.recipe.nodes is not None:
        return f"tells {_list(info.classes)} apart among the nodes of a graph"
    kind = "volumes" if info.recipe.dims == 3 else "2D images"
    verb = f"outlines {_list(info.classes)}" if segments(info) else f"tells {_list(info.classes)} apart"
    if info.task == "multilabel":
        verb = f"says for each of {_list(info.classes)} whether an image shows it,"
    return f"{verb} in {kind}"


def _use(info: ExpertInfo) -> str:
    if info.recipe.nodes is not None:
        return (
            f"## Intended use\n\nResearch and evaluation on graphs with the relations and features of {info.region},"
            " prepared as below. It gives scores, and a person decides. Nothing here says how it does on other data, on"
            " later data or after fraud has changed."
        )
    return (
        "## Intended use\n\n"
        f"Research and evaluation on images of the region {info.region}, prepared as below. It is **not a medical"
        " device** and no diagnosis may rest on it: it is not approved for patients, and nothing here says how it"
        " does at another hospital, on another scanner or in another population."
    )


def _data(info: ExpertInfo) -> str:
    kind = "made by a program" if info.synthetic else "of the run's data"
    counts = ", ".join(f"{part} {count}" for part, count in info.cases.items())
    case = info.words.case
    return (
        f"## Data\n\n{case.capitalize()}s {kind}: {counts} ({_split(info)}). No {case} is in this package."
        " The license of the data, and so of these weights, is unknown: ask the people who trained it."
    )


def _split(info: ExpertInfo) -> str:
    if info.recipe.nodes is not None:
        return f"parts share no {info.words.group}; neighbours may be in another part"
    if info.grouped is False:
        return "split by image: patients unknown, so images of one patient may be in several parts"
    return "parts share no patient or group"


def _names(info: ExpertInfo) -> dict[str, str]:
    """Return the names of the metrics; k of the recall is the number of positive nodes, or the first one stated."""
    if not isinstance(found := info.validation, NodeScores):
        return _NAMES
    first = {"recall_at_k": f"Recall among the first {found.recall_at[0].k} nodes"} if found.recall_at else {}
    return _NAMES | {"ap": f"Average precision ({_list(list(found.labels))})"} | first


def _metrics(info: ExpertInfo) -> str:
    found, equal = info.validation, info.equality
    lines = ["| metric | value | 95 % interval |", "|---|---|---|"]
    names = _names(info) | ({"auroc": "AUROC (mean over labels)"} if isinstance(found, MultilabelScores) else {})
    if isinstance(found, SegmentationScores):
        names |= {"hd95": f"{names['hd95']}, {found.unit}"}
        names |= {"volume_bias": f"{names['volume_bias']}, {found.volume_unit}"}
    rows = [(label, found.value(name), found.ci[name]) for name, label in names.items() if name in found.ci]
    if isinstance(found, SegmentationScores):
        rows += [(f"Dice of {row.structure}", row.dice, row.ci["dice"]) for row in found.per_structure]
    if isinstance(found, NodeScores):
        rows += [(f"Recall among the first {row.k} nodes", row.recall, row.ci) for row in found.recall_at[1:]]
    if isinstance(found, MultilabelScores):
        rows += [(f"AUROC of {name}", row.auroc, row.ci["auroc"]) for name, row in found.labels.items()]
    for label, value, interval in rows:
        span = f"{interval[0]:.3f} to {interval[1]:.3f}" if interval else "undefined"
        lines.append(f"| {label} | {'undefined' if value is None else format(value, '.3f')} | {span} |")
    unit = "pixels" if segments(info) else "labels"
    kind = info.words.made if equal.inputs == "phantom" else equal.inputs
    cut = _cut(info.reduction)
    after = " Its batch norms were recalibrated on the training split afterwards." if info.recalibrated else ""
    return (
        f"## Measured\n\nOn the validation split ({_counted(info)}; the best epoch was"
        " chosen on it, so expect lower values on new data; `decompose evaluate` measures the test "
        "split). Intervals come"
        f" from resampling {'whole groups' if info.recipe.nodes is None else info.words.groups}.\n\n"
        + "\n".join(lines)
        + f"\n\nEqual to the trained model on {equal.n} {kind} {info.words.cases} within"
        f" {equal.max_abs_difference:.1e} ({equal.label_flips} {unit} differ).{cut}{after}{_thresholds(info)}"
    )


def _counted(info: ExpertInfo) -> str:
    """Say the cases and their groups, unless each case is its own."""
    found, words = info.validation, info.words
    cases = plural(found.n, words.case)
    if info.recipe.nodes is None:
        return f"{cases} of {plural(found.groups, 'group')}"
    return cases if words.group == words.case else f"{cases} of {plural(found.groups, words.group)}"


def _thresholds(info: ExpertInfo) -> str:
    """Return the thresholds of a multilabel expert in words, else nothing."""
    if info.decision is None:
        return ""
    found = {name: limit for name, limit in info.decision.thresholds.items() if limit is not None}
    missing = [name for name, limit in info.decision.thresholds.items() if limit is None]
    stated = ", ".join(f"{name} {limit:.3f}" for name, limit in found.items()) or "none"
    why = {
        "youden": "to maximise sensitivity plus specificity", "f1": "to maximise the F1 score",
    }.get(info.decision.policy, f"{info.decision.policy}, as configured")  # fmt: skip
    unknown = f" None could be chosen for {_list(missing)}: its answer is uncertain." if missing else ""
    if (temperature := info.decision.temperature) is not None:
        about = f"\n\nThe probability is the softmax of the logits divided by {temperature:.3f}, fitted on validation."
        policy = info.decision.policy
        chosen = "".join(
            f" The answer is {name} from a probability of {limit:.3f} on, chosen on validation ({policy})."
            for name, limit in found.items()
        )
        return about + (chosen or " The answer is the most probable class.")
    return (
        f"\n\nA label counts as positive from this probability on, chosen on the validation split ({why}): "
        f"{stated}.{unknown}"
    )


def _cut(reduction: Reduction | None) -> str:
    if reduction is None:
        return ""
    found, kept = reduction.validation, reduction.energy_kept
    share = "" if kept is None else f", which keeps {100 * kept:.1f} % of its energy"
    return (
        f" Afterwards its low-rank update was cut from rank {reduction.rank_before} to {reduction.rank}{share}:"
        f" {found.metric.replace('_', ' ')} {found.before:.3f} before and {found.after:.3f} after,"
        f" a drop of {found.drop:.3f}"
        f" ({found.ci[0]:.3f} to {found.ci[1]:.3f}). The network has the same size either way."
    )


def _loading(info: ExpertInfo) -> str:
    return (
        "## Use without lorkit\n\n"
        "`model.pt2` holds the network with its normalisation; it needs torch alone. Beside this file:\n\n"
        f"```python\n{example(info)}```\n\n"
        + (
            f"`model.safetensors` holds the weights of the plain {info.backbone} under their usual names, without the"
            " normalisation."
            if info.gated_layers is None
            else "`model.safetensors` holds its weights without the normalisation; `expert.json` describes its layers."
        )
    )


def _limits(info: ExpertInfo) -> str:
    whose = "those of the network" if info.temperature is None else "calibrated on validation"
    lines = [
        "## Limits",
        "",
        f"- It predicts {'' if info.task in _SEVERAL else 'one of '}{_list(info.classes)} for every {info.words.case}, "
        "also of another kind.",
        f"- Probabilities are {whose}; check the calibration error before use.",
    ]
    if isinstance(check := info.in_region, MeasuredCheck):
        lines.append(
            f"- Out-of-region check (`expert.json`, `in_region`): refuses {_rate(check.false_refusal.rate)} of"
            f" {check.false_refusal.n} unseen images of the region,"
            f" {_rate(check.other_regions.rate)} of {check.other_regions.n} images of other regions. It detects"
            " large differences only."
        )
    rare = {name: n for name, n in info.validation.cases.items() if n < 20}
    lines += [
        f"- Only {plural(n, f'validation {info.words.case}')} of {name}: its metrics are not reliable."
        for name, n in rare.items()
    ]
    lines += [f"- Warning: {text}." for text in info.warnings]
    return "\n".join(lines)


def _rate(value: float | None) -> str:
    return "an unknown share" if value is None else f"{100 * value:.1f} %"


def _list(names: list[str]) -> str:
    return f"{', '.join(names[:-1])} and {names[-1]}" if len(names) > 1 else names[0]
