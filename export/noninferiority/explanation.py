"""The accuracy test in sentences."""

from __future__ import annotations

from lorkit.decompose.documents.gate import Floor, JudgedAccuracy
from lorkit.decompose.errors import plural, plural_of
from lorkit.decompose.metrics.intervals import ALPHA
from lorkit.decompose.metrics.names import METRICS
from lorkit.decompose.regions import words_of
from lorkit.export.noninferiority.changed_answers import NO_ANSWER
from lorkit.export.noninferiority.multiplicity import exceeds

_CROSS_CHECK = 0.05


def explain_accuracy(block: JudgedAccuracy) -> list[str]:
    """Describe an adjusted block in sentences, the first on the whole region."""
    sentences = [f"{_change(block)}. {_end(block)}."]
    sentences += [*_excluded(block), *_weights(block)]
    sentences += [_about_parts(block)] if block.subsets else []
    if block.changed_answers:
        changes = ", ".join(f"{count} {change}" for change, count in block.changes.items() if count)
        seen = f"{len(block.changed_answers)} of {plural(block.case_set.n, 'case')} changed"
        if block.metric == "auroc":  # a case has a row for every label that changed
            cases = f"{len({row.case for row in block.changed_answers})} of {plural(block.case_set.n, 'case')}"
            seen = f"{plural(len(block.changed_answers), 'answer')} changed in {cases}"
        sentences.append(f"{seen}: {changes}.")
    silent = {row.case for row in block.changed_answers if row.candidate == NO_ANSWER}
    if silent:
        cases = f"{len(silent)} of {plural(block.case_set.n, 'case')}"
        sentences.append(f"{cases} got no answer, or that of another region, which counts as wrong.")
    sentences += [_about_floor(block, floor) for floor in block.floors]
    return sentences + _hidden_losses(block) + _cross_check(block) + _about_cases(block)


def in_words(drop: float) -> str:
    """Say a drop as a reader looks for it: `loses 0.012`, `gains 0.167`, `does not change`."""
    shown = f"{abs(drop):.3f}"
    return "does not change" if shown == "0.000" else f"{'loses' if drop > 0 else 'gains'} {shown}"


def interval_in_words(low: float, high: float) -> str:
    """Say the interval of a drop: `a gain of 0.005 to a drop of 0.030`, `a drop of 0.010 to 0.030`."""
    (first, one), (second, two) = _end_in_words(low), _end_in_words(high)
    if first == second:
        return first if not one else f"{first} {one} to {two}"
    return " to ".join(f"{kind} {size}".rstrip() for kind, size in ((first, one), (second, two)))


def _end_in_words(end: float) -> tuple[str, str]:
    size = f"{abs(end):.3f}"
    if size == "0.000":
        return "no change", ""
    return ("a drop of" if end > 0 else "a gain of"), size


def _change(block: JudgedAccuracy) -> str:
    metric = METRICS[block.metric]
    before, after = f"{block.baseline:.3f}", f"{block.candidate:.3f}"
    moved = f"from {before} to {after}" if before != after else f"at {after}"
    said = f"{metric[0].upper()}{metric[1:]} {in_words(block.drop)}, {moved}"
    counted = f"{plural(block.n, 'case')}, {plural(block.groups, block.unit)}"
    if block.identical == "file":
        return f"{said} ({counted}). Both exports are the same file: the drop is 0 by construction"
    if block.identical == "outputs":
        return f"{said} ({counted}). Both exports give equal outputs in every case: the drop is 0 by construction"
    return f"{said} (95 % interval: {interval_in_words(*block.ci)}; {counted})"


def _excluded(block: JudgedAccuracy) -> list[str]:
    """Say what a PASS excludes if the unseen patient does not lose everything."""
    loss = block.unseen_loss
    if block.verdict != "pass" or block.identical is not None or loss is None or loss >= 1.0:
        return []
    rarest = 1.0 - (ALPHA / 2) ** (1.0 / block.groups)
    return [
        f"This excludes that {block.allowed / loss:.1%} of the {plural_of(block.unit)} lose {loss:.2f}. With "
        f"{plural(block.groups, block.unit)}, a loss in fewer than {rarest:.1%} of them can be unseen."
    ]


def _weights(block: JudgedAccuracy) -> list[str]:
    """Say how many groups of equal weight the cases are worth, where that leaves a drop open."""
    effective = block.effective_groups
    if effective is None or block.identical is not None or not block.ci[0] <= block.allowed <= block.ci[1]:
        return []
    counted = f"{plural(block.groups, block.unit)} count like {max(1, round(effective))} of equal weight"
    lost = f"{METRICS[block.metric]} would lose {1 / effective:.3f} if the one that weighs most were all wrong"
    return [f"{counted}: {lost}, and the next one may be."]


def _end(block: JudgedAccuracy) -> str:
    low, high = block.ci
    allowed = f"A drop of up to {block.allowed:.3f} is allowed"
    if block.identical is not None:
        return allowed
    if high < block.allowed:
        return f"{allowed}: the interval lies below it"
    if exceeds(block):
        return f"{allowed}: the drop exceeds it"
    if low > block.allowed:
        corrected = f"Holm, p {block.p_worse_holm or 0.0:.3f}"
        return f"{allowed}: the interval lies above it, but not after correction for all regions ({corrected})"
    return f"{allowed}: the interval contains it{'' if block.at_chance else _needed(block)}"


def _needed(block: JudgedAccuracy) -> str:
    if block.needed_groups is None:
        return ". The drop is so close to it that no reasonable number of cases decides"
    about = f". About {plural(block.needed_groups, block.unit)} would"
    if in_words(block.drop).startswith("loses"):
        return f"{about} decide whether a drop of {block.drop:.3f} is allowed"
    return f"{about} exclude a larger drop if {METRICS[block.metric]} still {in_words(block.drop)}"


def _hidden_losses(block: JudgedAccuracy) -> list[str]:
    """Say what hides a loss, so that a small drop proves nothing."""
    end = "" if block.identical == "file" else ", so no PASS"
    said = []
    if block.absent:
        unseen = "" if block.identical is not None else end
        lacks = "No case shows" if block.metric != "auroc" else "There is no positive or no negative case of"
        said.append(f"{lacks} {', '.join(block.absent)}: a loss there cannot be measured{unseen}.")
    if block.at_chance and block.baseline_ci is not None:
        low, high = block.baseline_ci
        seen = f"{METRICS[block.metric]} {block.baseline:.3f}, 95 % interval {low:.3f} to {high:.3f}"
        needed = block.needed_groups
        more = f"About {plural(needed, block.unit)} would show it" if needed else "More cases would not show it"
        said.append(f"The baseline is not shown to be better than chance, {block.chance:.3f} ({seen}){end}. {more}.")
    for side, names in block.never_answered.items():
        said.append(f"The {side} never answers {', '.join(names)}, which the cases show{end}.")
    return said


def _about_floor(block: JudgedAccuracy, floor: Floor) -> str:
    name = METRICS.get(floor.name, floor.name)
    low, high = floor.ci
    seen = "no case shows it" if floor.value is None else f"{floor.value:.3f}, 95 % interval {low:.3f} to {high:.3f}"
    words = {"pass": "lies above", "fail": "lies below", "inconclusive": "contains"}[floor.verdict]
    needed = floor.needed_groups
    more = f" About {plural(needed, block.unit)} would decide it." if needed else ""
    if floor.verdict == "inconclusive" and not needed:
        close = "The value is so close to it that no reasonable number of cases decides."
        more = f" {'Add cases that show it.' if floor.value is None else close}"
    return f"Candidate's {name} ({seen}): the interval {words} the least value of {floor.minimum:.3f}.{more}"


def _about_parts(block: JudgedAccuracy) -> str:
    rows = [(row.title, row.verdict) for row in block.subsets]
    failed = [title for title, verdict in rows if verdict == "fail"]
    open_ = [title for title, verdict in rows if verdict in ("inconclusive", "not_judged")]
    part = "label" if block.metric == "auroc" else "structure"
    looked = plural(len(rows), f"{part} or subgroup", plural=f"{part}s and subgroups")
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
        ignored = f"which ignores class balance and {plural_of(block.unit)}"
        return [f"Cross-check: McNemar's test, {ignored}, finds no difference (p {p_value:.3f})."]
    return []


def _about_cases(block: JudgedAccuracy) -> list[str]:
    said, about = [], block.case_set
    words = words_of("node" if block.unit in ("node", "entity") else "image", block.unit not in ("node", "image"))
    excluded = {name: count for name, count in about.excluded.items() if count}
    if excluded:
        others = {"same_patients": f"other {words.cases} of the same {words.groups}"}
        counted = [f"{count} {others.get(name, f'that the {name} was trained on')}" for name, count in excluded.items()]
        said.append(f"Excluded cases: {', '.join(counted)}.")
    for side in about.unknown:
        said.append(
            f"It is unknown whether the {side} was trained on these cases: its training data are not known here."
        )
    return said
