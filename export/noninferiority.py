"""Whether a candidate's answers are good enough: both engines over the same cases, judged by patient.

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
from lorkit.decompose.metrics import paired_drop
from lorkit.export.contests import Contest
from lorkit.export.exported import Exported

if TYPE_CHECKING:
    from lorkit.decompose.data.prepared import PreparedRegion
    from lorkit.decompose.transforms import Recipe
    from lorkit.export.targets.base import Engine

METRIC = "balanced_accuracy"
BATCH = 64
Cases = Callable[["Recipe"], "PreparedRegion"]
"""The cases to judge on, prepared as one engine's recipe says."""


def cases_of_file(path: Path, contest: Contest) -> Cases:
    """Take every row of a file, classes matched by name."""
    region = contest.candidate.as_region()
    return lambda recipe: file_samples(path, region, recipe)


def cases_of_split(data: LockedData, region: str) -> Cases:
    """Take the locked test split of a run, found by the digests of its images."""
    return lambda recipe: data.part(region, "test", recipe=recipe)


def engine_logits(engine: Engine, prepared: PreparedRegion, batch: int = BATCH) -> NDArray[np.float32]:
    """Run every case through an engine: (N, C, H, W) in, (N, classes) out."""
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
        allowed: Largest acceptable drop of balanced accuracy, a fraction.
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
    logits = [engine_logits(engine, one) for engine, one in zip(engines, prepared, strict=True)]
    found = paired_drop(prepared[0].labels, logits[0], logits[1], prepared[0].groups, seed=seed)
    verdict = _verdict(found.ci, allowed)
    flips = int((logits[0].argmax(1) != logits[1].argmax(1)).sum())
    block = {
        "verdict": verdict,
        "metric": METRIC,
        **found.to_json(),
        "allowed": allowed,
        "label_flips": flips,
        "source": source,
    }
    return block, _explain(block)


def undecided(allowed: float) -> dict[str, Any]:
    """Return the block of a gate that has nothing to judge accuracy on."""
    return {
        "verdict": "inconclusive",
        "metric": METRIC,
        "drop": None,
        "ci": None,
        "decidable": None,
        "n": None,
        "allowed": allowed,
        "source": None,
    }


def _prepare(subjects: tuple[Exported, Exported], cases: Cases) -> tuple[PreparedRegion, PreparedRegion]:
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
        f"The candidate {change} {abs(block['drop']):.3f} in balanced accuracy ({block['baseline']:.3f} to "
        f"{block['candidate']:.3f}; 95 % interval of the drop {low:.3f} to {high:.3f}; {block['n']} cases, "
        f"{block['groups']} groups)"
    )
    ends = {
        "pass": f"less than the allowed {block['allowed']:.3f}",
        "fail": f"more than the allowed {block['allowed']:.3f}",
        "inconclusive": f"the interval contains the allowed {block['allowed']:.3f}; these cases can decide a drop of "
        f"about {block['decidable']:.3f}",
    }
    return f"{seen}: {ends[block['verdict']]}."
