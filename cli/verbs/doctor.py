"""`decompose doctor`: hardware and libraries of this machine, missing requirements of targets, and a self-test."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import typer

from lorkit.cli import options, selftest

if TYPE_CHECKING:
    from lorkit.decompose.documents.hardware import Findings, SelfTestResult, TargetFacts

FEATURES = Path("foundations") / "features"
"""Default directory of the cached features of teachers."""


def doctor(as_json: options.Json = False) -> None:
    """Check this machine, with a self-test.

    Reports what each target needs and how to install it. Exit code 4 if the self-test on a phantom fails.
    """
    from lorkit.cli.output.next_steps import DIRECTORY, command, suggest
    from lorkit.cli.output.progress import ProgressLine
    from lorkit.cli.output.streams import print_json, print_status
    from lorkit.decompose.documents.base import combine
    from lorkit.decompose.documents.hardware import CachedFeatures, DoctorDocument, Findings, SelfTestResult
    from lorkit.decompose.machine import fingerprint, tool_versions
    from lorkit.decompose.training.feature_cache.budget import held_mib
    from lorkit.profiles import detect

    machine = fingerprint()
    found = Findings(
        machine=machine,
        libraries=tool_versions(),
        profile=detect(machine).name,
        target_states=_targets(),
        teacher_cache=CachedFeatures(directory=str(FEATURES), mib=round(held_mib(FEATURES), 1)),
    )
    if not as_json:
        _show(found)
    print_status("self-test: two experts, built, extracted, exported and run (a few seconds)")
    try:
        with ProgressLine("self-test"):
            result = selftest.self_test()
    except Exception as error:  # a finding about this machine
        result = SelfTestResult(passed=False, error=f"{type(error).__name__}: {error}")
    if as_json:
        print_json(combine(DoctorDocument, found, self_test=result))
    _conclude(result)
    suggest(command("init", "--from-data", DIRECTORY), command("train"))


def _targets() -> dict[str, TargetFacts]:
    from lorkit.decompose.documents.hardware import TargetFacts
    from lorkit.export.targets import TARGETS

    found = {name: (target, target.available()) for name, target in TARGETS.items()}
    return {
        name: TargetFacts(
            runtime=target.runtime,
            ok=state.ok,
            reason=state.reason,
            install=state.install,
            runs=state.ok and state.runs,
            why=state.cannot_run_because,
        )
        for name, (target, state) in found.items()
    }


def _conclude(result: SelfTestResult) -> None:
    from lorkit.cli.output.tables import line

    found = {name: "not finite" if value is None else value for name, value in (result.differences or {}).items()}
    if result.passed:
        worst = max(value for value in found.values() if isinstance(value, float))
        line(f"self-test passed in {result.seconds} s, largest difference {worst:.1e}")
        return
    allowed = "nothing, as the outputs are not finite" if result.tolerance is None else f"{result.tolerance:.1e}"
    reason = result.error or f"differences {found}, allowed {allowed}"
    line(f"self-test FAILED: {reason}; reinstall with `pip install -c constraints.txt -e .`")
    raise typer.Exit(4)


def _show(found: Findings) -> None:
    from lorkit.cli.output import tables
    from lorkit.export.targets import TARGETS

    machine, kept = found.machine, found.teacher_cache
    gpus = ", ".join(gpu["name"] for gpu in machine["gpus"]) or "none"
    rows = [
        ["system", f"{machine['platform']}, Python {machine['python']}"],
        ["CPU", f"{machine['cpu']}, {machine['threads']} threads, {tables.number(machine['memory_gib'], 1)} GiB"],
        ["instruction sets", ", ".join(machine["flags"]) or "-"],
        ["GPU", gpus],
        ["profile", found.profile],
        ["teacher cache", f"{kept.mib:,.1f} MiB in {kept.directory}, which you can delete at any time"],
        *([name, version or "not installed"] for name, version in found.libraries.items()),
    ]
    tables.table("this machine", ("", "value"), rows)
    states = [
        [name, _state(row), row.reason or row.why or row.runtime, row.install]
        for name, row in found.target_states.items()
    ]
    tables.table("targets", ("target", "state", "because", "how to get it"), states)
    native = ", ".join(name for name, target in TARGETS.items() if target.native)
    tables.line(
        f"{native}, and trt with version_compatible: an engine is compiled code of its author; one of another machine "
        "needs --trust-native"
    )


def _state(row: TargetFacts) -> str:
    if not row.ok:
        return "missing"
    return "ready" if row.runs else "builds, but cannot run"
