"""The accuracy test in sentences."""

from __future__ import annotations

import math

from lorkit.decompose.documents.gate import CaseSet, JudgedAccuracy
from lorkit.decompose.errors import plural
from lorkit.decompose.metrics.intervals import ALPHA
from lorkit.decompose.metrics.names import METRICS
from lorkit.export.noninferiority.multiplicity import exceeds

_CROSS_CHECK = 0.05


def explain_accuracy(block: JudgedAccuracy) -> list[str]:
    """Describe an adjusted block in sentences, the first on the whole region."""
    low, high = block.ci
    before, after = f"{block.baseline:.3f}", f"{block.candidate:.3f}"
    moved = f"{'falls' if block.drop > 0 else 'rises'} from {before} to {after}"
    metric = METRICS[block.metric]
    seen = (
        f"{metric[0].upper()}{metric[1:]} {f'stays at {after}' if before == after else moved} "
        f"(drop {block.drop:.3f}, 95 % interval {low:.3f} to {high:.3f}; {plural(block.n, 'case')}, "
        f"{plural(block.groups, 'group')})"
    )
    sentences = [f"{seen}. {_end(block)}."]
    sentences += _excluded(block)
    sentences += [_about_parts(block)] if block.subsets else []
    if block.flips:
        changes = ", ".join(f"{count} {change}" for change, count in block.changes.items() if count)
        sentences.append(f"{len(block.flips)} of {plural(block.case_set.n, 'case')} changed: {changes}.")
    if block.absent:
        sentences.append(f"No case shows {', '.join(block.absent)}: a loss there cannot be measured, so no PASS.")
    return sentences + _cross_check(block) + _about_cases(block.case_set)


def _excluded(block: JudgedAccuracy) -> list[str]:
    """Say what a PASS excludes if the unseen patient does not lose everything."""
    loss = block.unseen_loss
    if block.verdict != "pass" or loss is None or loss >= 1.0:
        return []
    rarest = 1.0 - (ALPHA / 2) ** (1.0 / block.groups)
    return [
        f"This excludes that {block.allowed / loss:.1%} of the patients lose {loss:.2f}. With "
        f"{plural(block.groups, 'patient')}, a loss in fewer than {rarest:.1%} of them can be unseen."
    ]


def _end(block: JudgedAccuracy) -> str:
    low, high = block.ci
    allowed = f"the allowed drop of {block.allowed:.3f}"
    if high < block.allowed:
        return f"The interval lies below {allowed}"
    if exceeds(block):
        return f"The drop exceeds {allowed}"
    if low > block.allowed:
        corrected = f"Holm, p {block.p_worse_holm or 0.0:.3f}"
        return f"The interval lies above {allowed}, but not after correction for all regions ({corrected})"
    return f"The interval contains {allowed}. {_needed(block)}"


def _needed(block: JudgedAccuracy) -> str:
    if block.needed_n is None:
        return "The drop is so close to it that no reasonable number of patients decides"
    patients = math.ceil(block.needed_n * block.groups / block.n)
    return f"About {patients} patients would decide whether a drop of {block.drop:.3f} is allowed"


def _about_parts(block: JudgedAccuracy) -> str:
    rows = [(row.title, row.verdict) for row in block.subsets]
    failed = [title for title, verdict in rows if verdict == "fail"]
    open_ = [title for title, verdict in rows if verdict in ("inconclusive", "not_judged")]
    looked = plural(len(rows), "structure or subgroup", plural="structures and subgroups")
    said = f"Within the allowed drop (Holm): {len(rows) - len(failed) - len(open_)} of {looked}"
    said += f"; larger drop: {', '.join(failed)}" if failed else ""
    said += f"; undecided: {', '.join(open_)}" if open_ else ""
    return said + (". With --strict-subgroups all must be within it." if open_ and block.strict else ".")


def _cross_check(block: JudgedAccuracy) -> list[str]:
    p_value, changes = block.mcnemar_p, block.changes
    if p_value is None:
        return []
    seen = p_value < _CROSS_CHECK
    if block.verdict == "pass" and seen and changes["worsened"] > changes["improved"]:
        return [f"Cross-check: the drop is allowed, but more cases worsened than improved (McNemar, p {p_value:.3f})."]
    if exceeds(block) and not seen:
        ignored = "which ignores class balance and patients"
        return [f"Cross-check: McNemar's test, {ignored}, finds no difference (p {p_value:.3f})."]
    return []


def _about_cases(about: CaseSet) -> list[str]:
    said = []
    excluded = {name: count for name, count in about.excluded.items() if count}
    if excluded:
        words = {"same_patients": "other images of the same patients"}
        counted = [f"{count} {words.get(name, f'that the {name} was trained on')}" for name, count in excluded.items()]
        said.append(f"Excluded cases: {', '.join(counted)}.")
    for side in about.unknown:
        said.append(f"It is unknown whether the {side} was trained on these cases: its run is missing.")
    return said
