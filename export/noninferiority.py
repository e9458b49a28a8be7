"""Whether a candidate's answers are good enough: both engines over the same cases, judged by patient.

A classifier is judged by balanced accuracy, a segmenter by mean Dice. Maps are reduced to the Dice of each case and
structure, batch by batch: those of a whole split would not fit into memory.

A point estimate of the drop would pass a bad candidate on few cases. So the verdict is that of the interval: PASS
needs its upper end below the allowed drop, FAIL its lower end above, and too few cases give neither.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from lorkit.decompose.data.locked import LockedData, file_samples
from lorkit.decompose.errors import DataError
from lorkit.decompose.metrics import PairedDrop, paired_drop
from lorkit.decompose.paired_means import paired_means
from lorkit.decompose.tasks import Evidence, get_task
from lorkit.export.contests import Contest
from lorkit.export.exported import Exported
from lorkit.export.sizes import fitting
from lorkit.export.writing import METRICS

if TYPE_CHECKING:
    from lorkit.decompose.data.prepared import PreparedRegion
    from lorkit.decompose.transforms import Recipe
    from lorkit.export.targets.base import Engine

BATCH = 64
Cases = Callable[["Recipe"], "PreparedRegion"]
"""The cases to judge on, prepared as one engine's recipe says."""
_Engines = tuple["Engine", "Engine"]
_Prepared = tuple["PreparedRegion", "PreparedRegion"]


def cases_of_file(path: Path, contest: Contest) -> Cases:
    """Take every row of a file, classes matched by name."""
    region = contest.candidate.as_region()
    return lambda recipe: file_samples(path, region, recipe)


def cases_of_split(data: LockedData, region: str, part: str = "test") -> Cases:
    """Take a locked part of a run, found by the digests of its images."""
    return lambda recipe: data.part(region, part, recipe=recipe)


def engine_logits(engine: Engine, prepared: PreparedRegion, batch: int = BATCH) -> NDArray[np.float32]:
    """Run every case through an engine: (N, C, *spatial) in, (N, classes) out."""
    images = prepared.images
    parts = [engine.run(np.ascontiguousarray(images[at : at + batch])) for at in range(0, len(images), batch)]
    return np.concatenate(parts)


def judge_accuracy(
    contest: Contest, engines: tuple[Engine, Engine], cases: Cases, *, allowed: float, source: str, seed: int
) -> tuple[dict[str, Any], str]:
    """Compare two engines on the same cases.

    Args:
        contest: Baseline and candidate.
        engines: Their engines, in this order.
        cases: The cases.
        allowed: Largest acceptable drop of the task's headline metric, a fraction.
        source: Where the cases come from, for the document.
        seed: Seed of the bootstrap.

    Returns:
        The gate's `accuracy` block and one sentence that explains it.

    Raises:
        DataError: The file holds no case, or an engine gives no finite numbers.
    """
    subjects = (contest.baseline, contest.candidate)
    prepared = _prepare(subjects, cases)
    if not len(prepared[0]):
        raise DataError(f"no case in {source}", required="at least one", fix="name another file with --data")
    judge = _judge_masks if get_task(contest.candidate.as_region().task).dense else _judge_labels
    found, changes = judge(contest, engines, prepared, seed)
    block = {
        "verdict": _verdict(found.ci, allowed),
        "metric": headline(contest.candidate),
        **found.to_json(),
        "allowed": allowed,
        **changes,
        "source": source,
    }
    return block, _explain(block)


def headline(candidate: Exported) -> str:
    """Return the metric that an export's accuracy is judged by, as its task says."""
    return get_task(candidate.as_region().task).headline


def undecided(candidate: Exported, allowed: float) -> dict[str, Any]:
    """Return the block of a gate that has nothing to judge accuracy on."""
    return {
        "verdict": "inconclusive",
        "metric": headline(candidate),
        "drop": None,
        "ci": None,
        "decidable": None,
        "n": None,
        "allowed": allowed,
        "source": None,
    }


def _judge_labels(
    contest: Contest, engines: _Engines, prepared: _Prepared, seed: int
) -> tuple[PairedDrop, dict[str, Any]]:
    """Compare two classifiers; also how many labels differ between them."""
    del contest
    logits = [engine_logits(engine, one) for engine, one in zip(engines, prepared, strict=True)]
    found = paired_drop(prepared[0].labels, logits[0], logits[1], prepared[0].groups, seed=seed)
    return found, {"label_flips": int((logits[0].argmax(1) != logits[1].argmax(1)).sum())}


def _judge_masks(
    contest: Contest, engines: _Engines, prepared: _Prepared, seed: int
) -> tuple[PairedDrop, dict[str, Any]]:
    """Compare two segmenters by the Dice of each case; also the share of pixels that differ between them.

    Raises:
        DataError: An engine gives no finite numbers.
    """
    region = contest.candidate.as_region()
    task = get_task(region.task)
    most = min(fitting(region, one.shape, most=BATCH) for one in (contest.baseline, contest.candidate))
    evidence: tuple[list[Evidence], list[Evidence]] = ([], [])
    differing = pixels = 0
    for start in range(0, len(prepared[0]), most):
        part = slice(start, start + most)
        logits = [engine.run(np.ascontiguousarray(one.images[part]))
                  for engine, one in zip(engines, prepared, strict=True)]  # fmt: skip
        for kept, found, one in zip(evidence, logits, prepared, strict=True):
            kept.append(task.evidence(found, one.targets[part]))
        masks = [found.argmax(1) for found in logits]
        if masks[0].shape == masks[1].shape:
            differing, pixels = differing + int((masks[0] != masks[1]).sum()), pixels + masks[0].size
    cases = [
        task.cases(region, one.targets, np.concatenate(kept)) for kept, one in zip(evidence, prepared, strict=True)
    ]
    drop = paired_means(cases[0], cases[1], prepared[0].groups, seed=seed)
    return drop, {"flip_rate": differing / pixels if pixels else None}


def _prepare(subjects: tuple[Exported, Exported], cases: Cases) -> _Prepared:
    baseline = cases(subjects[0].recipe)
    return baseline, baseline if subjects[0].recipe == subjects[1].recipe else cases(subjects[1].recipe)


def _verdict(ci: tuple[float, float], allowed: float) -> str:
    if ci[0] > allowed:
        return "fail"
    return "pass" if ci[1] < allowed else "inconclusive"


def _explain(block: dict[str, Any]) -> str:
    low, high = block["ci"]
    change = "loses" if block["drop"] >= 0 else "gains"
    seen = (
        f"The candidate {change} {abs(block['drop']):.3f} in {METRICS[block['metric']]} ({block['baseline']:.3f} to "
        f"{block['candidate']:.3f}; 95 % interval of the drop {low:.3f} to {high:.3f}; {block['n']} case(s), "
        f"{block['groups']} group(s))"
    )
    ends = {
        "pass": f"less than the allowed {block['allowed']:.3f}",
        "fail": f"more than the allowed {block['allowed']:.3f}",
        "inconclusive": f"the interval contains the allowed {block['allowed']:.3f}; these cases can decide a drop of "
        f"about {block['decidable']:.3f}",
    }
    return f"{seen}: {ends[block['verdict']]}."
