"""Error rates of the gate's latency verdict, compared with other ways of measuring.

    python benchmarks/gate.py                     # the tables of docs/benchmarks/gate.md, from the recordings beside it
    python benchmarks/gate.py --record 15         # first make new recordings of 15 minutes under each condition

Recordings (benchmarks/gate_recording.py) are raw times of one network, of the same network loaded again, and of the
network with 5 and 10 % more layers, on an idle machine, with one busy core, and with both busy. The gate's rule
(`lorkit.export.noninferiority.latency.decide`) is applied to them unchanged: a window begins where the one before
ended, and ends when the rule decides or after `--max-seconds`. Windows are disjoint; one that spans two recordings
continues in a process that has loaded the networks again. The other protocols use disjoint windows of a fixed number of
cycles.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from gate_recording import CONDITIONS, REFERENCE, read
from scipy.stats import beta

from lorkit.export.benchmarking.timing_statistics import fastest_of_neighbours, paired_ratio
from lorkit.export.noninferiority.latency import WARM_SHARE, decide

RECORDINGS = Path(__file__).parent / "recordings"
MARGIN, THRESHOLD, CYCLES = 0.03, 1.05, 300
_RECORD_SECONDS = 60.0
_TITLES = {"idle": "idle", "one": "one core busy", "both": "both cores busy"}
_ARMS = ("twin", "plus5", "plus10")


@dataclass(frozen=True)
class Recording:
    """All cycles of one condition in order: milliseconds per run (P,), and the process of each cycle."""

    times: dict[str, np.ndarray]
    process_P: np.ndarray
    runs: int
    about: list[dict[str, Any]]

    def __len__(self) -> int:
        return len(self.process_P)

    def cycles(self, candidate: str) -> np.ndarray:
        """Return the times (P, 3) that the gate would have seen of a candidate."""
        return np.stack([self.times[name] for name in ("baseline", candidate, "control")], axis=1)


@dataclass(frozen=True)
class Window:
    """Result of the gate for one window."""

    verdict: str
    ratio: float
    seconds: float


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument(
        "--record", type=float, metavar="MINUTES", help="make new recordings of this many minutes per condition"
    )
    arguments.add_argument("--recordings", type=Path, default=RECORDINGS)
    arguments.add_argument(
        "--max-seconds", type=float, default=60.0, help="time limit per window; the default is that of `decompose gate`"
    )
    options = arguments.parse_args()
    if options.record:
        _record(options.recordings, options.record)
    recordings = {name: _load(options.recordings, name) for name in CONDITIONS}
    print(_about(recordings))
    print(_rule_table(recordings, options.max_seconds))
    print(_protocol_table(recordings))


def windows(recording: Recording, candidate: str, max_seconds: float) -> list[Window]:
    """Apply the gate's rule to a recording, from each decision to the next."""
    times_PA = recording.cycles(candidate)
    second_P = recording.runs * times_PA.sum(axis=1) / 1e3
    allowed = max_seconds * (1 - WARM_SHARE)
    found = []
    begin = 0
    while begin < len(recording):
        usual = float(np.median(second_P[begin : begin + 100]))
        ends = begin + int(np.searchsorted(np.cumsum(second_P[begin:]), allowed)) + 1
        rows = times_PA[begin : min(ends, len(times_PA))]
        looks, seen = decide(lambda _, size, rows=rows: rows[:size], int(allowed / usual), margin=MARGIN, seed=begin)
        if ends > len(times_PA) and len(seen) == len(rows):
            break  # the recording ended before the rule did
        taken = float(second_P[begin : begin + len(seen)].sum())
        found.append(Window(looks[-1].verdict, looks[-1].question.ratio, taken))
        begin += len(seen)
    return found


def _record(directory: Path, minutes: float) -> None:
    for old in directory.glob("gate-*.npz"):
        old.unlink()
    for condition in CONDITIONS:
        for _ in range(max(1, round(60 * minutes / _RECORD_SECONDS))):
            command = [sys.executable, str(Path(__file__).with_name("gate_recording.py")), "--condition", condition]
            subprocess.run([*command, "--seconds", str(_RECORD_SECONDS), "--out", str(directory)], check=True)


def _load(directory: Path, condition: str) -> Recording:
    read_all = [read(path) for path in sorted(directory.glob(f"gate-{condition}-*.npz"))]
    if not read_all:
        raise SystemExit(f"no recording of '{condition}' in {directory}; record with --record MINUTES")
    names = read_all[0][0]
    runs = {int(about["runs"]) for _, about in read_all}
    if len(runs) > 1:
        raise SystemExit(f"recordings of '{condition}' differ in the runs of a block ({runs}); record anew")
    return Recording(
        times={name: np.concatenate([times[name] for times, _ in read_all]) for name in names},
        process_P=np.concatenate([np.full(len(times[REFERENCE]), index) for index, (times, _) in enumerate(read_all)]),
        runs=runs.pop(),
        about=[about for _, about in read_all],
    )


def _about(recordings: dict[str, Recording]) -> str:
    lines = ["| condition | processes | cycles | baseline, ms: p10, median, p90 | true +5 %, +10 % by minima |",
             "|---|---:|---:|---:|---:|"]  # fmt: skip
    for name, recording in recordings.items():
        spread = np.quantile(recording.times["baseline"], (0.1, 0.5, 0.9))
        minima = [
            np.mean([
                recording.times[arm][recording.process_P == one].min()
                / min(recording.times[side][recording.process_P == one].min() for side in ("baseline", "control"))
                for one in range(len(recording.about))
            ])
            for arm in ("plus5", "plus10")
        ]  # fmt: skip
        lines.append(
            f"| {_TITLES[name]} | {len(recording.about)} | {len(recording):,} | "
            f"{', '.join(f'{value:.2f}' for value in spread)} | {', '.join(f'{value:.3f}' for value in minima)} |"
        )
    first = recordings["idle"].about[0]
    machine = first["machine"]
    head = f"{machine['cpu']}, {machine['threads']} threads, {first['created'][:10]}"
    return "\n".join([head, "", *lines, ""])


def _rule_table(recordings: dict[str, Recording], max_seconds: float) -> str:
    lines = [
        "| condition | candidate | windows | PASS | INCONCLUSIVE | FAIL | 95 % bound | median ratio | s: median, p90 |",
        "|---|---|---:|---:|---:|---:|---|---:|---:|",
    ]
    for name, recording in recordings.items():
        for arm in _ARMS:
            found = windows(recording, arm, max_seconds)
            counts = {
                verdict: sum(one.verdict == verdict for one in found) for verdict in ("pass", "inconclusive", "fail")
            }
            seconds = np.quantile([one.seconds for one in found], (0.5, 0.9))
            failed = counts["fail"]
            bound = (
                f"FAIL <= {upper_bound(failed, len(found)):.2%}"
                if arm == "twin"
                else f"FAIL >= {1 - upper_bound(len(found) - failed, len(found)):.1%}"
            )
            cells = [_TITLES[name], {"twin": "the same", "plus5": "+5 %", "plus10": "+10 %"}[arm], len(found)]
            cells += [f"{counts[verdict] / len(found):.1%}" for verdict in counts]
            cells += [bound, f"{np.median([one.ratio for one in found]):.3f}"]
            cells.append(", ".join(f"{value:.1f}" for value in seconds))
            lines.append("| " + " | ".join(str(cell) for cell in cells) + " |")
    return "\n".join([*lines, ""])


def upper_bound(events: int, trials: int, confidence: float = 0.95) -> float:
    """One-sided upper bound of a probability (Clopper and Pearson 1934)."""
    return 1.0 if events == trials else float(beta.ppf(confidence, events + 1, trials - events))


def _protocol_table(recordings: dict[str, Recording]) -> str:
    lines = [
        f"| protocol, {CYCLES} cycles a window | "
        + " | ".join(f"{_TITLES[name]}: the same / +5 % / +10 %" for name in recordings)
        + " |",
        "|---|" + "---:|" * len(recordings),
    ]
    for title, protocol in PROTOCOLS.items():
        cells = []
        for recording in recordings.values():
            rates = []
            for arm in _ARMS:
                alarms = [protocol(now, before, arm) for before, now in _neighbours(recording)]
                rates.append(f"{np.mean(alarms):.0%}")
            cells.append(" / ".join(rates))
        lines.append(f"| {title} | " + " | ".join(cells) + " |")
    return "\n".join([*lines, ""])


Times = dict[str, np.ndarray]


def _neighbours(recording: Recording) -> Iterator[tuple[Times, Times]]:
    """Yield disjoint windows of `CYCLES` cycles, each with one of the previous process as stored numbers."""
    cut: dict[int, list[Times]] = {}
    for process in range(len(recording.about)):
        at = np.flatnonzero(recording.process_P == process)
        starts = range(at[0], at[-1] + 2 - CYCLES, CYCLES)
        cut[process] = [
            {name: times[start : start + CYCLES] for name, times in recording.times.items()} for start in starts
        ]
    for process in range(1, len(cut)):
        yield from zip(cut[process - 1], cut[process], strict=False)


def _stored(reduce: Callable[[np.ndarray], Any]) -> Callable[[Times, Times, str], bool]:
    return lambda now, before, arm: bool(reduce(now[arm]) > THRESHOLD * reduce(before["baseline"]))


def _normalised(now: Times, before: Times, arm: str) -> bool:
    ratio = np.median(now[arm]) / np.median(now[REFERENCE])
    return bool(ratio > THRESHOLD * np.median(before["baseline"]) / np.median(before[REFERENCE]))


def _back_to_back(now: Times, before: Times, arm: str) -> bool:
    half = CYCLES // 2
    return bool(np.median(now[arm][half:]) > THRESHOLD * np.median(now["baseline"][:half]))


def _paired(now: Times, before: Times, arm: str) -> bool:
    return bool(np.median(np.log(now[arm] / now["baseline"])) > np.log(THRESHOLD))


def _interval(now: Times, before: Times, arm: str) -> bool:
    """Return one look of fixed size: both baselines, pairs of two cycles, lower end above the margin."""
    folded = {name: fastest_of_neighbours(now[name][:, None], 2)[:, 0] for name in ("baseline", "control", arm)}
    baselines = np.stack([folded["baseline"], folded["control"]], axis=1)
    return paired_ratio(baselines, folded[arm]).ci[0] > 1 + MARGIN


PROTOCOLS: dict[str, Callable[[Times, Times, str], bool]] = {
    "stored mean > 1.05": _stored(np.mean),
    "stored median > 1.05": _stored(np.median),
    "stored median, normalised by a product of matrices > 1.05": _normalised,
    "back to back, ratio of medians > 1.05": _back_to_back,
    "interleaved, median of paired ratios > 1.05": _paired,
    "one check of the gate: interval above 1.03": _interval,
}


if __name__ == "__main__":
    main()
