"""Kill, fill, change, collide and isolate every command, and count what goes wrong.

    python benchmarks/torture.py --hours 3

Builds the smallest run through all commands, then

- runs each command without network;
- kills each command at each of its file operations, and at 100 random moments, and repeats it;
- lets the disk be full from each write on;
- changes files of every kind of artifact (with the old digests, and with digests computed again) and of input;
- runs each pair of commands at once.

Prints one table in Markdown; the failures go to stderr. The order is drawn with --seed, so a shorter pass is a sample
of the full one, and the table states its share. Needs Linux.
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).parent.parent / "tests" / "helpers"))

import torch
from torture.changes import change_artifacts, change_inputs
from torture.offline import run_offline
from torture.pairs import run_pairs
from torture.stage import CASES, Stage, small_stage
from torture.stops import stop_at_random, stop_everywhere, undisturbed
from torture.tally import Budget, Tally, table

KEPT, SEALED, INPUTS, MOMENTS = 4000, 3000, 5000, 100
"""Changes with old digests, with new ones, and of inputs, and kills at random moments, of a full pass."""
SHARES = {"kills": 0.40, "full": 0.22, "pairs": 0.10, "moments": 0.06, "kept": 0.06, "sealed": 0.10, "inputs": 0.06}
"""Parts of the time; each passes on what it does not need."""


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--hours", type=float, default=3.0, help="most time for all parts together")
    arguments.add_argument("--seed", type=int, default=0)
    every = ("offline", *SHARES)
    arguments.add_argument("--only", nargs="+", choices=every, default=every, help="parts; all if not given")
    options = arguments.parse_args()
    torch.set_num_threads(1)
    started = time.monotonic()
    with small_stage(lambda text: print(text, file=sys.stderr, flush=True)) as stage:
        tallies = run(stage, options.only, options.seed, started + 3600 * options.hours)
    print(table(tallies))
    minutes = (time.monotonic() - started) / 60
    print(f"\n{minutes:.0f} minutes, seed {options.seed}, {platform.system()}, Python {platform.python_version()}")
    sys.exit(any(one.failures for one in tallies))


def run(stage: Stage, only: Sequence[str], seed: int, end: float) -> list[Tally]:
    """Run parts until a moment of `time.monotonic`."""
    tallies = [run_offline(stage, Budget(seed, end))] if "offline" in only else []
    known = [undisturbed(stage, case) for case in CASES]
    parts: dict[str, Callable[[Budget], Tally]] = {
        "inputs": lambda budget: change_inputs(budget, INPUTS),
        "kept": lambda budget: change_artifacts(stage, budget, KEPT, sealed=False),
        "sealed": lambda budget: change_artifacts(stage, budget, SEALED, sealed=True),
        "moments": lambda budget: stop_at_random(stage, known, budget, MOMENTS),
        "pairs": lambda budget: run_pairs(stage, known, budget),
        "full": lambda budget: stop_everywhere(stage, known, budget, full=True),
        "kills": lambda budget: stop_everywhere(stage, known, budget),
    }
    chosen = {name: part for name, part in parts.items() if name in only}
    left = sum(SHARES[name] for name in chosen)
    for name, part in chosen.items():
        seconds = (end - time.monotonic()) * SHARES[name] / left
        left -= SHARES[name]
        tallies.append(part(Budget.of_seconds(seed, seconds)))
        print(tallies[-1].row(), file=sys.stderr, flush=True)
    return tallies


if __name__ == "__main__":
    main()
