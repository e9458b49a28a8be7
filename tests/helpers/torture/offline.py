"""Every command in a network of its own, without other hosts: no packet is sent, and the home directory stays empty."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from unittest.mock import patch

from file_operations import attempt
from offline_commands import isolate, unrouted_packets

from torture.stage import CASES, LIMIT_S, Case, Stage
from torture.tally import Budget, Tally


def run_offline(stage: Stage, budget: Budget, cases: Sequence[Case] = CASES) -> Tally:
    """Run commands where nothing but loopback can be reached; without such a network, no socket can be opened."""
    tally = Tally("command without network", planned=len(cases))
    home, told = stage.root / "home", stage.root / "packets"
    home.mkdir(exist_ok=True)
    for case in budget.shuffled(cases):
        stage.restore(case.state)

        def run(case: Case = case) -> int:
            os.environ |= {"HOME": str(home), "USERPROFILE": str(home)}
            if not isolate():
                with patch("socket.socket.connect", _refuse), patch("socket.getaddrinfo", _refuse):
                    return stage.action(case.words)()
            code = stage.action(case.words)()
            told.write_text(json.dumps(unrouted_packets()), encoding="ascii")
            return code

        told.write_text("0", encoding="ascii")
        done = attempt(run, under=stage.work, limit_s=LIMIT_S)
        problems = [] if done.code in case.codes and not done.error else [f"exit {done.code} {done.error[-300:]}"]
        packets = json.loads(told.read_text(encoding="ascii"))
        problems += [f"{packets} packets"] if packets else []
        problems += [f"in the home directory: {path.relative_to(home)}" for path in home.rglob("*") if path.is_file()]
        tally.add(problems, case.name)
    return tally


def _refuse(*arguments: object) -> None:
    raise AssertionError(f"a socket was used: {arguments[1:]}")
