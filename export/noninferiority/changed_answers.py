"""Cases that two networks answer differently, each with whether the change is an improvement.

A case is named by the digest of its image, since file names may be those of patients. Its image is shown only if it is
a drawn phantom or the privacy of the run allows it.

Shapes: N cases, C classes, S structures.
"""

from __future__ import annotations

import base64
import io
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import ArrayLike, NDArray
from PIL import Image

from lorkit.decompose.artifacts.arrays import Float32Array
from lorkit.decompose.documents.gate import Change, ChangedAnswer
from lorkit.decompose.metrics.probabilities import expit, softmax
from lorkit.decompose.tasks.base import unanswered

if TYPE_CHECKING:
    from lorkit.decompose.data.prepared import PreparedRegion

IMPROVED: Final = "improved"
WORSENED: Final = "worsened"
BOTH_WRONG: Final = "wrong either way"
ORDER: tuple[Change, ...] = (WORSENED, BOTH_WRONG, IMPROVED)
NO_ANSWER = "no answer"
"""Shown for a case that a router answers for another region, or not at all."""
VISIBLE_DICE = 0.01
"""Smallest listed change of a mean Dice: pixels at edges change with rounding."""
_PICTURES = 100
_SIDE = 48


def changed_labels(
    prepared: PreparedRegion,
    decided: Sequence[NDArray[Any]],
    classes: Sequence[str],
    shares: Sequence[NDArray[Any]] | None = None,
) -> list[ChangedAnswer]:
    """List the cases whose class differs, new errors first.

    Args:
        prepared: The cases.
        decided: (N, C) of baseline and candidate, of which the largest is the answer.
        classes: Names of the C classes.
        shares: (N, C) probabilities of each side; by default the softmax of `decided`.

    Returns:
        One row per case: `case` (digest), `truth`, `baseline`, `candidate`, `change`, and the probability of each
            side's answer.
    """
    answers = [np.asarray(logits, np.float64).argmax(1) for logits in decided]
    shares = shares or [softmax(np.asarray(logits, np.float64), axis=1) for logits in decided]
    none = [unanswered(logits)[:, 0] for logits in decided]
    rows = []
    for index in np.flatnonzero((answers[0] != answers[1]) | (none[0] != none[1])).tolist():
        truth, before, after = int(prepared.labels[index]), int(answers[0][index]), int(answers[1][index])
        silent = [bool(side[index]) for side in none]
        rows.append(
            ChangedAnswer(
                case=prepared.digests[index],
                truth=classes[truth],
                baseline=NO_ANSWER if silent[0] else classes[before],
                candidate=NO_ANSWER if silent[1] else classes[after],
                outcome=IMPROVED if after == truth else WORSENED if before == truth else BOTH_WRONG,
                baseline_probability=None if silent[0] else float(shares[0][index, before]),
                candidate_probability=None if silent[1] else float(shares[1][index, after]),
            )
        )
    return sorted(rows, key=lambda row: (ORDER.index(row.outcome), -(row.candidate_probability or 0.0), row.case))


def changed_table(
    prepared: PreparedRegion, logits: Sequence[NDArray[Any]], cuts: Sequence[ArrayLike]
) -> list[ChangedAnswer]:
    """List the labels of cases that two multilabel networks answer differently, new errors first.

    Args:
        prepared: The cases; labels that are uncertain there have no right answer, and are not listed.
        logits: (N, L) of baseline and candidate.
        cuts: Of each side the logits above which labels are positive.
    """
    said = [np.asarray(one, np.float64) >= np.asarray(cut) for one, cut in zip(logits, cuts, strict=True)]
    shares = [expit(np.asarray(one, np.float64)) for one in logits]
    none = [unanswered(one)[:, 0] for one in logits]
    rows = []
    for index, label in np.argwhere((said[0] != said[1]) & (prepared.labels >= 0)).tolist():
        name, truth, after = prepared.region.classes[label], bool(prepared.labels[index, label]), said[1][index, label]
        rows.append(
            ChangedAnswer(
                case=prepared.digests[index],
                truth=_answer(name, truth),
                baseline=NO_ANSWER if none[0][index] else _answer(name, not after),
                candidate=NO_ANSWER if none[1][index] else _answer(name, after),
                outcome=IMPROVED if after == truth else WORSENED,
                baseline_probability=None if none[0][index] else float(shares[0][index, label]),
                candidate_probability=None if none[1][index] else float(shares[1][index, label]),
            )
        )
    return sorted(rows, key=lambda row: (ORDER.index(row.outcome), row.case, row.candidate))


def _answer(name: str, positive: bool) -> str:
    return f"{name}: {'yes' if positive else 'no'}"


def changed_dice(
    prepared: PreparedRegion, baseline_NS: NDArray[Any], candidate_NS: NDArray[Any], structures: Sequence[str]
) -> list[ChangedAnswer]:
    """List the cases whose mean Dice changes visibly, the largest drop first.

    Returns:
        One row per case: `case` (digest), `truth` (None: a mask), mean Dice of `baseline` and `candidate`, `change`,
            and the `structure` that changed most with its Dice, `structure_baseline` and `structure_candidate`.
    """
    rows = []
    for index, (before_S, after_S) in enumerate(zip(baseline_NS, candidate_NS, strict=True)):
        known_S = np.isfinite(before_S) | np.isfinite(after_S)
        if not known_S.any():
            continue
        # undefined on one side only: neither the case nor that side has it
        before_S, after_S = (np.where(np.isfinite(dice_S), dice_S, 1.0) for dice_S in (before_S, after_S))
        before, after = float(before_S[known_S].mean()), float(after_S[known_S].mean())
        if abs(after - before) < VISIBLE_DICE:
            continue
        most = int(np.where(known_S, np.abs(after_S - before_S), -1.0).argmax())
        rows.append(
            (
                after - before,
                ChangedAnswer(
                    case=prepared.digests[index],
                    truth=None,
                    baseline=before,
                    candidate=after,
                    outcome=IMPROVED if after > before else WORSENED,
                    structure=structures[most],
                    structure_baseline=float(before_S[most]),
                    structure_candidate=float(after_S[most]),
                ),
            )
        )
    return [row for _, row in sorted(rows, key=lambda one: (one[0], one[1].case))]


def counts(rows: Sequence[ChangedAnswer]) -> dict[Change, int]:
    """Count the rows by change."""
    found = Counter(row.outcome for row in rows)
    return {change: found[change] for change in (IMPROVED, WORSENED, BOTH_WRONG)}


def with_pictures(rows: list[ChangedAnswer], prepared: PreparedRegion) -> list[ChangedAnswer]:
    """Add a small image to the first rows: `thumbnail`, a base64 PNG; of a volume its middle slice."""
    places = {digest: index for index, digest in reversed(list(enumerate(prepared.digests)))}
    return [
        row.with_changes(thumbnail=_thumbnail(prepared.images[places[row.case]])) if at < _PICTURES else row
        for at, row in enumerate(rows)
    ]


def _thumbnail(image: Float32Array) -> str:
    plane = image if image.ndim == 3 else image[..., image.shape[-1] // 2]
    gray = np.clip(plane[0] if plane.shape[0] != 3 else np.moveaxis(plane, 0, -1), 0.0, 1.0)
    picture = Image.fromarray(np.round(255 * gray).astype(np.uint8))
    picture.thumbnail((_SIDE, _SIDE))
    stream = io.BytesIO()
    picture.save(stream, format="PNG", optimize=True)
    return base64.b64encode(stream.getvalue()).decode()
