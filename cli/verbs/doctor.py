"""`decompose doctor`: hardware and libraries of this machine, missing requirements of targets, and a self-test."""

from __future__ import annotations

from pathlib import Path
from typing import TypedDict

import typer

from lorkit.cli import options, selftest
from lorkit.decompose.machine import Machine

FEATURES = Path("foundations") / "features"
"""Default directory of the cached features of teachers."""


class TargetState(TypedDict):
    """Whether a target can be built and run here, and if not, why and how to change that."""

    runtime: str
    ok: bool
    reason: str
    install: str
    runs: bool
    why: str


class KeptFeatures(TypedDict):
    """Directory and size of the cached features of teachers."""

    directory: str
    mib: float


class Findings(TypedDict):
    """What `doctor` finds before its self-test."""

    machine: Machine
    libraries: dict[str, str | None]
    profile: str
    targets: dict[str, TargetState]
    teacher_cache: KeptFeatures


def doctor(as_json: options.Json = False) -> None:
    """Check this machine, with a self-test.

    Reports what each target needs and how to install it. Exit code 4 if the self-test on a phantom fails.
    """
    from lorkit.cli.output.next_steps import DIRECTORY, command, suggest
    from lorkit.cli.output.progress import ProgressLine
    from lorkit.cli.output.streams import print_json, print_status
    from lorkit.decompose.documents.hardware import DoctorDocument
    from lorkit.decompose.machine import fingerprint, tool_versions
    from lorkit.decompose.training.feature_cache.budget import held_mib
    from lorkit.profiles import detect

    machine = fingerprint()
    document: Findings = {
        "machine": machine,
        "libraries": tool_versions(),
        "profile": detect(machine).name,
        "targets": _targets(),
        "teacher_cache": {"directory": str(FEATURES), "mib": round(held_mib(FEATURES), 1)},
    }
    if not as_json:
        _show(document)
    print_status("self-test: two experts, built, extracted, exported and run (a few seconds)")
    try:
        with ProgressLine("self-test"):
            result = selftest.self_test()
    except Exception as error:  # a finding about this machine
        result = {"passed": False, "error": f"{type(error).__name__}: {error}"}
    if as_json:
        print_json(DoctorDocument.model_validate({**document, "self_test": result}))
    _conclude(result)
    suggest(command("init", "--from-data", DIRECTORY), command("train"))


def _targets() -> dict[str, TargetState]:
    from lorkit.export.targets import TARGETS

    found = {name: (target, target.available()) for name, target in TARGETS.items()}
    return {
        name: {
            "runtime": target.runtime,
            "ok": state.ok,
            "reason": state.reason,
            "install": state.install,
            "runs": state.ok and state.runs,
            "why": state.cannot_run_because,
        }
        for name, (target, state) in found.items()
    }


def _conclude(result: selftest.SelfTest) -> None:
    from lorkit.cli.output.tables import line

    if result["passed"]:
        worst = max(result["differences"].values())
        line(f"self-test passed in {result['seconds']} s, largest difference {worst:.1e}")
        return
    reason = result.get("error") or f"differences {result['differences']}, allowed {result['tolerance']:.1e}"
    line(f"self-test FAILED: {reason}; reinstall with `pip install -c constraints.txt -e .`")
    raise typer.Exit(4)


def _show(document: Findings) -> None:
    from lorkit.cli.output import tables

    machine, kept = document["machine"], document["teacher_cache"]
    gpus = ", ".join(gpu["name"] for gpu in machine["gpus"]) or "none"
    rows = [
        ["system", f"{machine['platform']}, Python {machine['python']}"],
        ["CPU", f"{machine['cpu']}, {machine['threads']} threads, {tables.number(machine['memory_gib'], 1)} GiB"],
        ["instruction sets", ", ".join(machine["flags"]) or "-"],
        ["GPU", gpus],
        ["profile", document["profile"]],
        ["teacher cache", f"{kept['mib']:,.1f} MiB in {kept['directory']}, which you can delete at any time"],
        *([name, version or "not installed"] for name, version in document["libraries"].items()),
    ]
    tables.table("this machine", ("", "value"), rows)
    states = [
        [name, _state(row), row["reason"] or row["why"] or row["runtime"], row["install"]]
        for name, row in document["targets"].items()
    ]
    tables.table("targets", ("target", "state", "because", "how to get it"), states)


def _state(row: TargetState) -> str:
    if not row["ok"]:
        return "missing"
    return "ready" if row["runs"] else "builds, but cannot run"
