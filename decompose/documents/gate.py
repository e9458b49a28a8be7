"""The result of `decompose gate`, by region. Rates are fractions; ratios are candidate over baseline.

A drop is baseline minus candidate. Null means not measured.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, get_args

from lorkit.decompose.documents.base import Digest, Document, Interval, Part, Share, Tools, Verdict
from lorkit.decompose.documents.baselines import Replacement
from lorkit.decompose.documents.gate_costs import Budget, Deterministic
from lorkit.decompose.documents.heads import MIXTURES
from lorkit.decompose.documents.measured import Medians, Ratio, Subject, Timings
from lorkit.decompose.machine import Machine
from lorkit.decompose.regions import Group

Change = Literal["improved", "worsened", "wrong either way"]
Side = Literal["baseline", "candidate"]
Check = Literal["deterministic", "latency_test", "accuracy_test", "budget_test"]
"""A part of a verdict, by its key."""
CHECKS: tuple[Check, ...] = get_args(Check)


def reasons_of(by_check: Mapping[Check, Sequence[str]]) -> list[str]:
    """Return the reasons of all checks, in the order of the checks and without repetition."""
    return list(dict.fromkeys(text for name in CHECKS for text in by_check.get(name, ())))


class Look(Ratio):
    """An interim analysis of a latency test."""

    noise_floor: float
    verdict: Verdict


class Latency(Part):
    """The latency test of one region: interleaved pairs, with the baseline loaded again as control."""

    verdict: Verdict
    ratio: float | None
    ci: Interval | None
    level: float | None = None
    margin: float
    pairs: int
    cycles_per_pair: int | None = None
    """Neighbouring cycles of which each engine's fastest counts."""
    noise_floor: float | None
    """Largest difference of the baseline from itself."""
    control: Ratio | None = None
    ratio_of_minima: float | None = None
    medians_ms: Medians | None = None
    runs_per_sample: int | None = None
    seconds: float | None = None
    looks: list[Look] = []
    timings_ms: Timings | None = None
    batch: int | None = None
    threads: int | None = None
    provider: str | None = None


class Subset(Part):
    """A structure or a subgroup of the cases, judged separately."""

    column: str | None = None
    """For a subgroup: the column with the value `name`."""
    name: str
    n: int
    groups: int
    verdict: Verdict | Literal["not_judged"]
    drop: float | None
    ci: Interval | None
    p_worse: Share | None
    p_within: Share | None
    p_worse_holm: Share | None = None
    p_within_holm: Share | None = None
    absent: list[str] = []
    """For a subgroup: classes or structures that are in none of its cases."""

    @property
    def title(self) -> str:
        """Its name, for subgroups with the column."""
        return self.name if self.column is None else f"{self.column}={self.name}"


class ChangedAnswer(Part):
    """A case with different answers of the two networks: a class, or a mean Dice."""

    case: str
    """Digest of the image, keyed by the file of the directory of runs."""
    truth: str | None
    baseline: str | float
    candidate: str | float
    outcome: Change
    baseline_probability: Share | None = None
    candidate_probability: Share | None = None
    structure: str | None = None
    """The structure that changed most."""
    structure_baseline: Share | None = None
    structure_candidate: Share | None = None
    thumbnail: str | None = None
    """A base64 PNG, if the privacy of the run allows it."""


class CaseSet(Part):
    """The cases of the accuracy test."""

    digest: Digest
    """Of images and targets, keyed, independent of their order; for a complete locked split that of splits.json."""
    key: str | None = None
    """Name of the key: digests of other keys cannot be compared."""
    n: int
    groups: int
    excluded: dict[str, int]
    """Excluded cases: training cases of a side, and others of their patients."""
    unknown: list[Side]
    """Sides with unknown training cases."""


class Floor(Part):
    """A least value that the candidate must reach, judged by its 95 % interval."""

    name: str
    """The headline metric, or `recall of` a class or structure."""
    value: Share | None
    ci: Interval
    minimum: Share
    verdict: Verdict
    needed_groups: int | None = None
    """About how many patients decide it; null if it is decided or no number does."""


class Accuracy(Part):
    """The drop of the task's headline metric on the same cases."""

    verdict: Verdict
    metric: str
    drop: float | None
    ci: Interval | None
    decidable: float | None
    """Half-width of the interval."""
    baseline: float | None = None
    candidate: float | None = None
    baseline_ci: Interval | None = None
    n: int | None
    groups: int | None = None
    unit: Group = "group"
    """What is resampled: images where patients are unknown, nodes or their entities of graphs."""
    identical: Literal["file", "outputs"] | None = None
    """Both sides are the same file, or their outputs are equal in every case: the drop is 0 by construction."""
    chance: Share | None = None
    """The metric of a network that ignores its images."""
    at_chance: bool = False
    """The baseline's interval includes chance, which prevents PASS."""
    never_answered: dict[Side, list[str]] = {}
    """Classes or structures that the cases show and a side never answers, which prevents PASS."""
    floors: list[Floor] = []
    """Least values of `--min-accuracy` and `--min-recall`."""
    mcnemar_p: Share | None = None
    """Exact two-sided McNemar test; a cross-check without effect on the verdict."""
    p_worse: Share | None = None
    """Smallest error at which the interval is above the allowed drop."""
    p_within: Share | None = None
    """Smallest error at which the interval is below the allowed drop."""
    needed_n: int | None = None
    """Approximate number of cases that decide whether a drop as large as this one is allowed; null if far too many."""
    unseen_loss: Share | None = None
    """Loss of the one patient that the interval assumes to be unseen: 1 is everything."""
    effective_groups: float | None = None
    """Of average precision: groups (of `unit`) of equal weight that would say as much, where some weigh more than
    others: 1 over what would be lost if the one that weighs most were all wrong."""
    needed_groups: int | None = None
    """Approximate number of groups (of `unit`) that would decide an inconclusive verdict; null if no number does."""
    allowed: float
    strict: bool = False
    """PASS needs every structure and subgroup shown to be within the allowed drop."""
    absent: list[str] = []
    """Classes or structures that are in no case, which prevent PASS."""
    by_structure: list[Subset] = []
    by_subgroup: list[Subset] = []
    label_flips: int | None = None
    flip_rate: Share | None = None
    """Share of the pixels of masks that differ."""
    dice_network_grid_by_side: dict[Side, Share | None] | None = None
    """Dice of masks at the network's size, before they are resized: a diagnostic without effect on the verdict."""
    changes: dict[Change, int] = {}
    changed_answers: list[ChangedAnswer] = []
    case_set: CaseSet | None
    source: str | None
    p_worse_holm: Share | None = None
    """Corrected for all regions of the gate."""

    @property
    def subsets(self) -> list[Subset]:
        """Structures, then subgroups."""
        return [*self.by_structure, *self.by_subgroup]


class JudgedAccuracy(Accuracy):
    """The accuracy test of a region with cases."""

    drop: float
    ci: Interval
    decidable: float
    baseline: float
    candidate: float
    n: int
    groups: int
    p_worse: Share
    p_within: Share
    case_set: CaseSet
    source: str


class HeadVerdict(Part):
    """The accuracy of one head of a network for several regions, on the cases of its region."""

    verdict: Verdict
    accuracy_test: JudgedAccuracy | Accuracy
    reasons: list[str]
    baseline: Subject


class GateRegion(Part):
    """The verdict on one region, or on a network for several: the worst of its checks."""

    verdict: Verdict
    created: str | None = None
    """When it was judged."""
    options: list[str] | None = None
    """Options of the gate that differ from their defaults, of files outside the run only the name."""
    stale: bool = False
    """In the record of a run: an export has changed since, so that the verdict counts as inconclusive."""
    latency_test: Latency
    accuracy_test: JudgedAccuracy | Accuracy
    """Of a network for several regions that of its worst head."""
    head_verdicts: dict[str, HeadVerdict] = {}
    """Of a network for several regions by region; latency and costs are compared with the baseline of the first."""
    deterministic: Deterministic
    budget_test: Budget | None = None
    reasons: list[str]
    reasons_by_check: dict[Check, list[str]] | None = None
    """The same reasons by check."""
    baseline: Subject
    candidate: Subject


class GateDocument(Document):
    """A verdict of `decompose gate`."""

    kind: Literal["gate"] = "gate"
    created: str
    verdict: Verdict
    on_inconclusive: Verdict
    margin: float
    max_accuracy_drop: float
    max_accuracy_drops: dict[str, float] = {}
    """Allowed drops of single regions."""
    min_accuracy: dict[str, Share] = {}
    """Least headline metric by region, `*` for all others."""
    min_recall: dict[str, Share] = {}
    """Least recall by region, `*` for all others."""
    seed: int
    run: str | None
    run_regions: int | None = None
    """Number of regions of the run."""
    synthetic: bool
    machine: Machine
    tools: Tools
    regions: dict[str, GateRegion]
    """Those that were judged; in the record of a run the newest verdict on each region."""
    replaced_baselines: list[Replacement] | None = None
    """With --update-baseline: the replacements; empty if none."""

    @property
    def headline(self) -> str:
        """The verdict in capitals, with the number of regions that it is about if there are others."""
        whole = [name for name in self.regions if name in MIXTURES]
        judged, total = len(self.regions) - len(whole), self.run_regions
        parts = [] if total is None or judged in (0, total) else [f"{judged} of {total} regions"]
        about = [*parts, *whole] if parts or not judged else []
        return self.verdict.upper() + (f" for {' and '.join(about)}" if about else "")
