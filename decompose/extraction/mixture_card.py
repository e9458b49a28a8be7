"""The model card of a network of several regions: its use, its measurements, and how to load it with torch alone."""

from __future__ import annotations

import yaml

from lorkit.decompose.documents.heads import Head
from lorkit.decompose.documents.mixture import MixtureInfo
from lorkit.decompose.extraction.card_example import mixture_example
from lorkit.decompose.extraction.expert_source import from_teachers
from lorkit.decompose.extraction.model_card import from_published_weights
from lorkit.decompose.metrics.names import METRICS
from lorkit.decompose.tasks import get_task

_WHAT = {
    "router": "finds the region of an image and answers with the head of that region",
    "region-id": "answers images of several regions in one batch, given the region of each",
}
_POLICIES = {
    "routed": "The answer is that of the head of the most probable region.",
    "all-heads": "It returns the outputs of all heads; the most probable region says which one counts.",
    "weighted": "The answer is the mean of the heads, weighted by the probabilities of the regions.",
}


def mixture_card(info: MixtureInfo) -> str:
    """Return Markdown with YAML front matter, made from `expert.json` alone."""
    sections = [_front_matter(info), _title(info), _use(info), _heads(info), _measured(info), _loading(info)]
    return "\n\n".join([*sections, _limits(info)]) + "\n"


def _front_matter(info: MixtureInfo) -> str:
    names = [f"region:{head.region}" for head in info.mixture.heads]
    fields = {
        "license": "unknown",
        "library_name": "pytorch",
        "tags": ["medical", "lorkit", *names, *(["synthetic"] if info.synthetic else [])],
    }
    return f"---\n{yaml.safe_dump(fields, sort_keys=False, allow_unicode=True)}---"


def _title(info: MixtureInfo) -> str:
    source, names = info.made_from, [head.region for head in info.mixture.heads]
    mark = (
        "\n\n> **Synthetic.** Trained on images that a program drew. It demonstrates the tool and is not for patients."
        if info.synthetic
        else ""
    )
    policy = f" {_POLICIES[info.mixture.policy]}" if info.mixture.form == "router" else ""
    return (
        f"# Network for {', '.join(names)}{mark}\n\n"
        f"A {info.backbone} with adapters that {_WHAT[info.mixture.form]}.{policy} Extracted from run `{source.run}`"
        f" (method {source.method}{from_published_weights(source)}{from_teachers(source)}):"
        f" {info.parameters:,} parameters, {info.macs:,} multiply-accumulates per image."
    )


def _use(info: MixtureInfo) -> str:
    names = ", ".join(head.region for head in info.mixture.heads)
    return (
        "## Intended use\n\n"
        f"Research and evaluation on images of {names}, prepared as below. It is **not a medical device** and no"
        " diagnosis may rest on it: it is not approved for patients, and nothing here says how it does at another"
        " hospital, on another scanner or in another population."
    )


def _heads(info: MixtureInfo) -> str:
    lines = ["| id | region | task | answers | output |", "|---|---|---|---|---|"]
    for index, head in enumerate(info.mixture.heads):
        lines.append(f"| {index} | {head.region} | {head.task} | {', '.join(head.classes)} | `{head.output}` |")
    inputs = "`image` (N, C, ...) in [0, 1]"
    if info.mixture.form == "region-id":
        inputs += " and `region` (N,) int64, the ids below; of each image only the output of its own region counts"
    others = [name for name in info.mixture.output_names if name not in {head.output for head in info.mixture.heads}]
    named = f" Further outputs: {', '.join(f'`{name}`' for name in others)}." if others else ""
    return f"## Inputs and outputs\n\nInputs: {inputs}.{named}\n\n" + "\n".join(lines)


def _measured(info: MixtureInfo) -> str:
    lines = ["| region | images | metric | value | 95 % interval | largest difference |", "|---|---|---|---|---|---|"]
    lines += [_row(info, head) for head in info.mixture.heads]
    text = (
        "## Measured\n\nOn the validation split, with the region known (the best epoch was chosen on it, so expect"
        " lower values on new data). Intervals come from resampling whole groups. The last column is the largest"
        " difference of an output from the trained model.\n\n" + "\n".join(lines)
    )
    if (found := info.prediction) is None:
        return text
    return (
        f"{text}\n\nRegion unknown: it predicts the region right for {100 * found.right:.1f} % of the images of a"
        f" region (mean over regions, {100 * found.ci[0]:.1f} to {100 * found.ci[1]:.1f}) and gives no answer to"
        f" {100 * found.abstained:.1f} %, whose confidence is below {found.abstain_below}. The limit was set on these"
        " images."
    )


def _row(info: MixtureInfo, head: Head) -> str:
    name, scores = get_task(head.task).headline, info.validation_by_region[head.region]
    value, interval = scores.value(name), scores.ci.get(name)
    span = f"{interval[0]:.3f} to {interval[1]:.3f}" if interval else "undefined"
    shown = "undefined" if value is None else format(value, ".3f")
    difference = info.equality_by_region[head.region].max_abs_difference
    return f"| {head.region} | {scores.n} | {METRICS[name]} | {shown} | {span} | {difference:.1e} |"


def _loading(info: MixtureInfo) -> str:
    return (
        "## Use without lorkit\n\n"
        "`model.pt2` holds the network with its normalisation; it needs torch alone. Beside this file:\n\n"
        f"```python\n{mixture_example(info)}```"
    )


def _limits(info: MixtureInfo) -> str:
    lines = ["## Limits", ""]
    if info.mixture.form == "region-id":
        lines.append("- It does not check the stated region: a wrong one gives an answer without meaning.")
    else:
        lines.append("- It may take an image of another kind for one of its regions; the confidence detects some.")
    lines.append("- Probabilities are those of the network; check the calibration error before use.")
    for head in info.mixture.heads:
        for name, count in info.validation_by_region[head.region].cases.items():
            if count < 20:
                lines.append(
                    f"- Only {count} validation images of {name} in {head.region}: its metrics are not reliable."
                )
    return "\n".join(lines + [f"- Warning: {text}." for text in info.warnings])
