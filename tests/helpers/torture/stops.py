"""Kills and full disks at every file operation of every command, and kills at random moments."""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from file_operations import NEEDS_SPACE, Attempt, Operation, attempt

from lorkit.decompose.artifacts import sweep
from lorkit.decompose.runs import list_runs, open_run
from torture.inventory import Expected, inventory, left_over
from torture.stage import LIMIT_S, Case, Stage
from torture.tally import Budget, Tally

STORAGE = 6
"""Exit code of a failed disk."""
_PASSING = ".lock"  # of a lock that nobody holds; the next command in that directory removes it


@dataclass(frozen=True)
class Known:
    """An undisturbed command: its file operations, its seconds and what it leads to."""

    case: Case
    operations: list[Operation]
    seconds: float
    expected: Expected


def undisturbed(stage: Stage, case: Case) -> Known:
    """Run a command twice and tell what varies."""
    found, seconds = [], 0.0
    for pause_s in (0.0, 1.1):  # documents state their second
        time.sleep(pause_s)
        before = inventory(stage.restore(case.state))
        started = time.monotonic()
        done = attempt(stage.action(case.words), under=stage.work, limit_s=LIMIT_S)
        seconds = time.monotonic() - started
        if done.error or done.code not in case.codes:
            raise AssertionError(f"{case.name}: exit {done.code}\n{done.output[-2000:]}{done.error}")
        found.append(inventory(stage.work))
    one, other = found
    # a report states its minute and what was measured, a comparison its seconds: they may be equal twice
    drawn = {name for name in one if Path(name).parent.name == "report" or Path(name).stem == "comparison"}
    varying = frozenset(name for name in one if one[name] != other.get(name) or name in drawn)
    return Known(case, done.operations, seconds, Expected(before, other, varying))


def stop_everywhere(
    stage: Stage, known: Sequence[Known], budget: Budget, *, full: bool = False, most: int | None = None
) -> Tally:
    """Kill commands at their file operations, or let the disk be full from there on; then repeat them."""
    tally = Tally("disk full at a write" if full else "kill at a file operation")
    places = [
        (one, number)
        for one in known
        for number, operation in enumerate(one.operations)
        if not full or operation.kind in NEEDS_SPACE
    ]
    tally.planned = len(places)
    for one, number in budget.shuffled(places, most):
        stage.restore(one.case.state)
        done = attempt(
            stage.action(one.case.words), under=stage.work, at=number, how="full" if full else "kill", limit_s=LIMIT_S
        )
        problems = _full(one.case, done) if full else [] if done.killed else _unkilled(one, done)
        problems += after_stop(stage, one)
        tally.add(problems, f"{one.case.name}, operation {number} {' '.join(one.operations[number])}")
    return tally


def stop_at_random(stage: Stage, known: Sequence[Known], budget: Budget, count: int = 100) -> Tally:
    """Kill commands at random moments."""
    tally, rng = Tally("kill at a random moment", planned=count), random.Random(budget.seed)
    for one in budget.shuffled([rng.choice(known) for _ in range(count)]):
        stage.restore(one.case.state)
        share = rng.random()
        _kill_after(stage, one.case, share * one.seconds)
        tally.add(after_stop(stage, one), f"{one.case.name}, after {share:.2f} of its time")
    return tally


def after_stop(stage: Stage, known: Known) -> list[str]:
    """Return what the next command finds wrong after a command was stopped, and what is wrong after its repeat."""
    case, expected = known.case, known.expected
    problems = ["a child outlived its parent"] if stage.survivors() else []
    look(stage.work)
    problems += expected.problems(stage.work)
    again = repeat(stage, case)
    if again.error or again.code not in case.codes:
        problems.append(f"the repeat: exit {again.code} {again.output.strip().splitlines()[-1:]}{again.error[-300:]}")
        return problems
    problems += [f"after the repeat, {one}" for one in expected.problems(stage.work, finished=True)]
    left = [name for name in left_over(stage.work) if not name.endswith(_PASSING)]
    return problems + [f"left over after the repeat: {name}" for name in left]


def look(work: Path) -> None:
    """Look for runs and artifacts as the next command does, whichever it is: that repairs what a kill left."""
    for home in ("runs", "foundations", "comparisons", "store"):
        sweep(work / home)
    for path in list_runs(work / "runs"):
        open_run(path)


def repeat(stage: Stage, case: Case) -> Attempt:
    """Run a command again, as its own message says: with --resume if it was a training, with --force if it exists."""
    done = attempt(stage.action(case.words), under=stage.work, limit_s=LIMIT_S)
    for option in ("--resume", "--force"):
        if done.code == 2 and option in done.output and option not in case.words:
            return attempt(stage.action((*case.words, option)), under=stage.work, limit_s=LIMIT_S)
    return done


def _full(case: Case, done: Attempt) -> list[str]:
    """Return what is wrong with the end of a command whose disk was full."""
    if done.error:
        return [f"an exception: {done.error.strip().splitlines()[-1]}"]
    line = next((one for one in reversed(done.output.splitlines()) if "No space left" in one), "")
    if not line and done.code == 0 and case.verb == "clean":  # what it lists it removes on a full disk too
        return []
    if not line:
        return [f"exit {done.code} without a word of it: {done.output.strip().splitlines()[-1:]}"]
    failed = {Path(operation.path).name for operation in done.operations}
    return [] if _names_a_file(line, failed) else [f"the message names no file: {line[:200]}"]


def _names_a_file(line: str, operated: set[str]) -> bool:
    words = line.replace("(", " ").replace(")", " ").replace("'", " ").replace(";", " ").replace(":", " ").split()
    return any(os.sep in word or Path(word).suffix[1:].isalpha() or word in operated for word in words)


def _unkilled(known: Known, done: Attempt) -> Iterable[str]:
    """A command that varies may do fewer operations than the one that was counted: it ended by itself, and well."""
    return [] if done.code in known.case.codes and not done.error else [f"exit {done.code} {done.error[-300:]}"]


def _kill_after(stage: Stage, case: Case, seconds: float) -> None:
    process = os.fork()
    if not process:
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, 1)
        os.dup2(null, 2)
        code = 70
        try:
            code = stage.action(case.words)()
        finally:
            os._exit(code)
    time.sleep(seconds)
    os.kill(process, signal.SIGKILL)  # a child that has ended waits to be waited for
    os.waitpid(process, 0)
