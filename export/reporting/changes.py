"""Changes between two runs, by region: `report --against OLD`.

Accuracies are compared in pairs on the same cases if both runs have the same test cases; else the two numbers are shown
without an interval. Latencies were measured at different times; only a gate or a bench, which interleave both, can
compare them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from lorkit.decompose.artifacts import read_json
from lorkit.decompose.documents.changes import PairedChange, PairedChanges
from lorkit.decompose.errors import LorkitError
from lorkit.decompose.events import Listener, Working
from lorkit.decompose.runs import ExportSelection, Run, exports_of
from lorkit.decompose.runs.locked_data import RunSplits
from lorkit.export.noninferiority.accuracy import AccuracyTest, judge_accuracy
from lorkit.export.noninferiority.cases import cases_of_split
from lorkit.export.runtime.engine import load_engine
from lorkit.export.runtime.exported import Exported, ExportPair, read_exported
from lorkit.export.runtime.preference import export_preference

KIND = "changes"
_SEED = 0


def changes(
    home: Run, other: Run, now: Mapping[str, Any], then: Mapping[str, Any], on_event: Listener
) -> dict[str, Any]:
    """Compare the documents of two runs, and their experts' exports on the same cases.

    Args:
        home: The reported run.
        other: The run to compare with.
        now: Document of `home`.
        then: Document of `other`.
        on_event: Receives progress.

    Returns:
        `id` and `digest` of the other run; `verdict` of both gates; `rows`, one per region of both runs: `region`, the
        table rows `then` and `now` of the judged experts, `verdict` of both, `paired` (change of the headline metric on
        the same cases, its `ci`, `n`, `label_flips`) or null with the reason in `unpaired`; `settings` that differ
        (`key`, `then`, `now`); regions of only one run, `only_then` and `only_now`.
    """
    names = [[region["name"] for region in document["regions"]] for document in (then, now)]
    shared = [name for name in names[1] if name in names[0]]
    kept = _Paired(home, other)
    rows = []
    for index, name in enumerate(shared):
        on_event(Working(f"{name} against {other.id}", index, len(shared)))
        ours, theirs = _best(home, name), _best(other, name)
        paired, reason = kept.compare(name, theirs, ours)
        rows.append(
            {
                "region": name,
                "then": _row(then, name, theirs),
                "now": _row(now, name, ours),
                "verdict": {"then": _verdict(then, name), "now": _verdict(now, name)},
                "paired": None if paired is None else paired.to_json(),
                "unpaired": reason,
            }
        )
    kept.store()
    return {
        "id": other.id,
        "digest": other.manifest.digest,
        "verdict": {"then": (then["gate"] or {}).get("verdict"), "now": (now["gate"] or {}).get("verdict")},
        "rows": [row for row in rows if row["then"] is not None and row["now"] is not None],
        "settings": list(_differing(_flat(then["run"]), _flat(now["run"]))),
        "only_then": [name for name in names[0] if name not in names[1]],
        "only_now": [name for name in names[1] if name not in names[0]],
    }


class _Paired:
    """Paired comparisons, stored in the run by the digests of both exports, because they need a pass over the cases."""

    def __init__(self, home: Run, other: Run) -> None:
        self.home, self.other = home, other
        self.path = home.measurements_dir / f"against-{other.manifest.digest[:12]}.json"
        stored = PairedChanges.read(self.path, fix="remove it").pairs if self.path.is_file() else {}
        self.known: dict[str, PairedChange] = stored
        self.used: dict[str, PairedChange] = {}

    def compare(self, region: str, then: Exported | None, now: Exported | None) -> tuple[PairedChange | None, str]:
        """Return the change on the same cases, or None and the reason why it is undefined."""
        if then is None or now is None:
            return None, "not exported in both runs"
        if then.classes != now.classes:
            return None, f"other classes: {', '.join(then.classes)} then"
        if _held_back(self.home, region) != _held_back(self.other, region):
            return None, "the runs have different test splits"
        key = f"{then.manifest.digest}:{now.manifest.digest}"
        try:
            found = self.known.get(key) or _measure(self.home, region, then, now)
        except LorkitError as error:
            return None, str(error)
        self.used[key] = found
        return found, ""

    def store(self) -> None:
        """Write the paired comparisons that were used."""
        if self.used and self.used != self.known:
            self.home.measurements_dir.mkdir(parents=True, exist_ok=True)
            PairedChanges(pairs=self.used).write(self.path)


def _measure(home: Run, region: str, then: Exported, now: Exported) -> PairedChange:
    cases = cases_of_split(RunSplits(home), region)
    with load_engine(then.path) as before, load_engine(now.path) as after:
        block = judge_accuracy(ExportPair(then, now), (before, after), cases, AccuracyTest(allowed=0.0, seed=_SEED))
    low, high = block.ci
    names = ("label_flips", "flip_rate")
    return PairedChange(
        metric=block.metric,
        then=block.baseline,
        now=block.candidate,
        change=-block.drop,
        ci=(-high, -low),
        n=block.n,
        groups=block.groups,
    ).with_changes(**{name: getattr(block, name) for name in names if name in block.model_fields_set})


def _best(run: Run, region: str) -> Exported | None:
    found = [read_exported(entry.path) for entry in exports_of(run, ExportSelection(region=region), owners=("expert",))]
    return max(found, key=lambda one: export_preference(one, run), default=None)


def _row(document: Mapping[str, Any], region: str, judged: Exported | None) -> dict[str, Any] | None:
    rows = [row for row in document["table"] if row["region"] == region and row["owner"] == "expert"]
    wanted = None if judged is None else judged.manifest.digest
    return next((row for row in rows if row["digest"] == wanted), rows[0] if rows else None)


def _verdict(document: Mapping[str, Any], region: str) -> str | None:
    block = ((document["gate"] or {}).get("regions") or {}).get(region)
    return None if block is None else str(block["verdict"])


def _held_back(run: Run, region: str) -> frozenset[str]:
    splits = read_json(run.path / "splits.json", kind="splits")["regions"]
    return frozenset(splits.get(region, {}).get("test", ()))


def _flat(about: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings by dotted key, without the location and time of the run."""
    settings = {"name": about["name"], "method": about["method"], "seed": about["seed"], **about["settings"]}
    return dict(_leaves("", settings))


def _leaves(prefix: str, value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping):
        for name, inner in value.items():
            yield from _leaves(f"{prefix}.{name}" if prefix else str(name), inner)
    else:
        yield prefix, value


def _differing(then: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    keys: Sequence[str] = list(dict.fromkeys([*then, *now]))
    for key in keys:
        if then.get(key) != now.get(key):
            yield {"key": key, "then": then.get(key), "now": now.get(key)}
