"""Terms of the pages in one sentence each; a page explains those that it uses."""

from __future__ import annotations

import re

from markupsafe import Markup, escape

PLACE = "<!-- terms -->"
"""Where a page has its glossary."""
TERMS: dict[str, tuple[str, str]] = {
    "95 % interval": (
        r"95 % interval|Interval",
        "The range that contains the true value in 95 of 100 repetitions with other cases. Accuracies: cases that "
        "belong together, such as those of one person, are drawn again as a whole and do not count as independent.",
    ),
    "abstain": (
        r"\babstain|abstention",
        "The network gives no answer, since its confidence in the region is below a limit.",
    ),
    "AP": (
        r"\bAP\b",
        "Average precision: the area under the curve of precision over recall. Scores without relation to the "
        "label have the share of positive cases.",
    ),
    "AUROC": (
        r"AUROC",
        "The probability that a random positive case has a higher score than a random negative one. 0.5 is "
        "chance, 1 is perfect.",
    ),
    "balanced accuracy": (
        r"[Bb]alanced acc",
        "The mean of the recalls of all classes, so that rare classes count like frequent ones.",
    ),
    "baseline, candidate": (
        r"[Bb]aseline",
        "The network that is compared with, and the network that is judged.",
    ),
    "calibration": (
        r"[Cc]alibration",
        "Whether confidence equals accuracy: of the cases with a confidence of 0.8, 80 % should be right.",
    ),
    "control": (
        r"The control is",
        "The baseline timed against itself. Its interval is the noise of the machine.",
    ),
    "decidable": (
        r"decidable",
        "The smallest drop of accuracy that these cases can tell from no drop. More independent cases make it smaller.",
    ),
    "Dice": (
        r"\bDice\b",
        "Twice the overlap of two masks over the sum of their sizes. 0 is no overlap, 1 is equal.",
    ),
    "digest": (
        r"sha256|[Dd]igest",
        "The SHA-256 checksum of a file or artifact. Equal digests mean equal content.",
    ),
    "distillation": (
        r"distill",
        "Training a small network on the outputs or features of a large one.",
    ),
    "drop": (
        r"\b[Dd]rop\b",
        "How much lower the accuracy of the candidate is than that of the baseline.",
    ),
    "ECE": (
        r"\bECE\b",
        "Expected calibration error: the mean distance between confidence and accuracy, over 15 bins of "
        "confidence. 0 is perfect.",
    ),
    "expert": (
        r"\b[Ee]xperts?\b",
        "The small network for one region.",
    ),
    "foundation": (
        r"\b[Ff]oundation\b",
        "The large network from which the experts learn.",
    ),
    "HD95": (
        r"HD95",
        "The 95th percentile of the distances between the surfaces of two masks. 0 is equal.",
    ),
    "level": (
        r">Level<|corrected levels",
        "The confidence level of an interval. Looking several times needs a higher one at each look, so that all "
        "together are wrong in at most 5 % of cases.",
    ),
    "MACs": (
        r"\bMACs\b",
        "Multiply-accumulate operations of one answer: the arithmetic work, whatever the machine.",
    ),
    "margin": (
        r"more latency, bytes or MACs",
        "How much slower or larger a candidate may be and still pass.",
    ),
    "McNemar": (
        r"McNemar",
        "A test on the cases that only one of two classifiers answers right. A small p means that they differ.",
    ),
    "NPV": (
        r"\bNPV\b",
        "Negative predictive value: of the cases answered as negative, the share that is negative. It depends on "
        "how frequent the class is in the test cases.",
    ),
    "NSD": (
        r"\bNSD\b|Surface Dice",
        "Normalised surface Dice: the share of both surfaces within a tolerance of the other.",
    ),
    "p90, p99": (
        r"\bp9[09]\b",
        "90 (99) of 100 answers take at most this long. Too few samples have no p99.",
    ),
    "parity": (
        r"\b[Pp]arity\b",
        "The exported network gives the same outputs as the PyTorch network, within a stated tolerance.",
    ),
    "Pareto front": (
        r"Pareto",
        "The exports that no other beats in both accuracy and latency.",
    ),
    "PPV": (
        r"\bPPV\b",
        "Positive predictive value, also called precision: of the cases answered as positive, the share that is "
        "positive. It depends on how frequent the class is in the test cases.",
    ),
    "precision of an export": (
        r"\bfp32\b|\bint8\b",
        "The number format of the weights and activations, such as fp32 or int8. It has nothing to do with PPV.",
    ),
    "probe": (
        r"linear[ -]probe",
        "A linear classifier on the unchanged features of the foundation.",
    ),
    "random teacher": (
        r"random teacher",
        "The architecture of the foundation with random weights, as a control: a gain that it brings too is not "
        "due to what the foundation has learned.",
    ),
    "recall at k": (
        r"[Rr]ecall at k",
        "The share of the positive cases among the k cases with the highest scores.",
    ),
    "sensitivity": (
        r"[Ss]ensitivity",
        "Also called recall: of the positive cases, the share that is answered as positive.",
    ),
    "specificity": (
        r"[Ss]pecificity",
        "Of the negative cases, the share that is answered as negative.",
    ),
    "student": (
        r"\b[Ss]tudent\b",
        "The small network that all regions share, without what is added for each region.",
    ),
    "synthetic": (
        r"[Ss]ynthetic|SYNTHETIC",
        "Made by a program. Results on synthetic cases say nothing about real ones.",
    ),
    "verdict": (
        r"INCONCLUSIVE|\b[Vv]erdict",
        "PASS: shown to be within the limits. FAIL: shown to be outside. INCONCLUSIVE: the cases or timings do "
        "not decide.",
    ),
}
"""By term: a pattern of its use, and what it means."""


def with_glossary(html: str) -> str:
    """Put the terms that a page uses in its place for them."""
    visible = re.sub(r"<(style|script)>.*?</\1>", "", html, flags=re.DOTALL)
    used = [(term, words) for term, (pattern, words) in TERMS.items() if re.search(pattern, visible)]
    rows = Markup("").join(
        Markup("<div><dt>{}</dt><dd>{}</dd></div>\n").format(term, escape(words)) for term, words in used
    )
    return html.replace(PLACE, rows, 1)
