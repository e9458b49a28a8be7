"""Two processes at once, for every pair of commands: each ends well or says that another one is writing."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations_with_replacement

from file_operations import attempt

from torture.inventory import Expected, left_over
from torture.stage import CHEST, LIMIT_S, Case, Stage
from torture.stops import Known, repeat
from torture.tally import Budget, Tally

BUSY = 6
"""Exit code of a command that another process keeps from writing."""
REPLACED = 4
"""Exit code of a command that reads what another process replaces."""
_MAKERS = ("pretrain", "train", "extract", "export", "report", "compare")
_FOLLOWING = (
    "predictions/*",
    "store/*",
    *(f"runs/*/{name}/*" for name in ("measurements", "report", "experts", "exports")),
)
"""What is made from what a maker makes: which of its states it was made from is not known."""


@dataclass
class _Process:
    case: Case
    number: int
    output: str


def run_pairs(stage: Stage, known: Sequence[Known], budget: Budget, most: int | None = None) -> Tally:
    """Run each pair of the commands that start from the whole state, a command beside itself included."""
    tally = Tally("two commands at once")
    pairs = list(combinations_with_replacement([one for one in known if one.case.state == "whole"], 2))
    tally.planned = len(pairs)
    for one, other in budget.shuffled(pairs, most):
        tally.add(_together(stage, one, other), f"{one.case.name} beside {other.case.name}")
    return tally


def _together(stage: Stage, one: Known, other: Known) -> list[str]:
    work = stage.restore("whole")
    problems = []
    makes = any(known.case.verb in _MAKERS for known in (one, other))
    for process in [_start(stage, known.case, number) for number, known in enumerate((one, other))]:
        code = _wait(process.number)
        allowed = (*process.case.codes, BUSY, *([REPLACED] if makes else []))
        if code not in allowed:
            said = open(process.output, encoding="utf-8", errors="replace").read().strip().splitlines()  # noqa: SIM115
            problems.append(f"{process.case.name}: exit {code} {said[-1:]}")
    both = _joined(one.expected, other.expected, _following(one.case, other.case))
    problems += both.problems(work)
    for known in (one, other):
        again = repeat(stage, known.case)
        if again.code in (2, REPLACED) and makes:  # the newest run or expert has no exports yet, as its line says
            for words in (("extract",), ("export", *CHEST)):
                attempt(stage.action(words), under=work, limit_s=LIMIT_S)
            again = repeat(stage, known.case)
        if again.error or again.code not in known.case.codes:
            problems.append(f"{known.case.name} after both: exit {again.code} {again.output.strip().splitlines()[-1:]}")
    problems += [f"after the repeats, {line}" for line in both.problems(work)]
    return problems + [f"left over: {name}" for name in left_over(work) if not name.endswith(".lock")]


def _following(one: Case, other: Case) -> tuple[str, ...]:
    if one.verb == other.verb == "train":  # the identity of a new run follows from the run that it was made from
        return ("runs/*",)
    return _FOLLOWING if one.verb in _MAKERS or other.verb in _MAKERS else ()


def _joined(one: Expected, other: Expected, loose: tuple[str, ...]) -> Expected:
    """Return what may be seen while and after both: what they write varies, as their order is not known.

    So does an archive of what the other one writes.
    """
    written = {name for each in (one, other) for name, digest in each.after.items() if each.before.get(name) != digest}
    written |= {name for name in one.after | other.after if name.endswith(".tar")}
    removed = {name for each in (one, other) for name in each.before.keys() - each.after.keys()}
    after = {name: digest for name, digest in (one.after | other.after).items() if name not in removed}
    return Expected(one.before, after, one.varying | other.varying | written, loose)


def _start(stage: Stage, case: Case, number: int) -> _Process:
    output = str(stage.root / f"output-{number}")
    process = os.fork()
    if not process:
        code = 70
        try:
            stream = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            os.dup2(stream, 1)
            os.dup2(stream, 2)
            code = stage.action(case.words)()
        finally:
            os._exit(code)
    return _Process(case, process, output)


def _wait(process: int) -> int:
    """Return the exit code of a child; one that does not end within the limit is killed."""
    end = time.monotonic() + LIMIT_S
    while time.monotonic() < end:
        ended, status = os.waitpid(process, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.02)
    os.kill(process, 9)
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
