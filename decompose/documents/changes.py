"""What changed between two runs: `decompose report --against`."""

from __future__ import annotations

from typing import Literal

from pydantic import JsonValue

from lorkit.decompose.documents.base import Digest, Document, Interval, Part, Share, Verdict
from lorkit.decompose.documents.report_row import ReportRow


class ThenNow(Part):
    """Verdicts of two runs; null where there is none."""

    then: Verdict | None
    now: Verdict | None


class PairedChange(Part):
    """What changed on the same cases."""

    metric: str
    then: float
    now: float
    change: float
    ci: Interval
    n: int
    groups: int
    label_flips: int | None = None
    flip_rate: Share | None = None


class ChangedRegion(Part):
    """A region of both runs."""

    region: str
    then: ReportRow
    now: ReportRow
    verdicts: ThenNow
    paired: PairedChange | None
    unpaired: str
    """Reason why there is no paired change."""


class ChangedSetting(Part):
    """A setting that differs."""

    key: str
    then: JsonValue
    now: JsonValue


class Changes(Part):
    """What changed since another run."""

    id: str
    digest: Digest
    verdicts: ThenNow
    rows: list[ChangedRegion]
    settings: list[ChangedSetting]
    only_then: list[str]
    only_now: list[str]


class PairedChanges(Document):
    """Paired changes against another run, by the digests of both exports."""

    kind: Literal["changes"] = "changes"
    pairs: dict[str, PairedChange]
