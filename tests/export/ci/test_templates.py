"""The templates call scripts that are here, with options that exist, and ask for no more rights than they need."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import typer.main
import yaml

from lorkit.cli.commands import list_commands
from lorkit.cli.main import app

SCRIPTS = Path(__file__).parents[3] / "examples" / "ci"
TEMPLATES = ("github.yml", "gitlab.yml")


@pytest.mark.parametrize("template", TEMPLATES)
def test_templates_call_scripts_that_are_here_with_options_that_exist(template: str) -> None:
    document = yaml.safe_load((SCRIPTS / template).read_text())
    commands = commands_of(document)
    called = [words.split() for words in commands if words.startswith("ci/")]
    scripts = {
        "install.sh",
        "gate.sh",
        "update-baselines.sh",
        "baselines.sh",
        "candidate.sh",
        f"post-{Path(template).stem}.sh",
    }
    assert {words[0].removeprefix("ci/") for words in called} == scripts
    gate = dict(list_commands(typer.main.get_command(app)))["decompose gate"]
    known = {name for parameter in gate.params for name in parameter.opts}
    for name, *words in called:
        assert os.access(SCRIPTS / name.removeprefix("ci/"), os.X_OK)
        assert {word for word in words if word.startswith("--")} <= known
    others = [words for words in commands if not words.startswith("ci/")]
    assert all(words.startswith(("git pull", "export GIT_CONFIG_")) for words in others)
    assert not any("${{" in words for words in commands)  # nobody's title becomes a command


@pytest.mark.parametrize("template", TEMPLATES)
def test_templates_install_first_and_leave_address_and_digest_to_the_user(template: str) -> None:
    document = yaml.safe_load((SCRIPTS / template).read_text())
    settings = document.get("env") or document["variables"]
    assert (settings["LORKIT_URL"], settings["LORKIT_SHA256"]) == ("", "")
    assert commands_of(document)[0] == "ci/install.sh"
    assert "pip install" not in (SCRIPTS / template).read_text()


def commands_of(document: dict[str, Any]) -> list[str]:
    """Return what the jobs of a template run, line by line."""
    if "jobs" in document:
        steps = [step for job in document["jobs"].values() for step in job["steps"]]
        return [line for step in steps for line in step.get("run", "").splitlines()]
    parts = ("before_script", "script", "after_script")
    jobs = [job for job in document.values() if isinstance(job, dict)]
    return [line for job in jobs for part in parts for line in job.get(part, ())]


def test_the_github_template_asks_for_little() -> None:
    document = yaml.safe_load((SCRIPTS / "github.yml").read_text())
    assert document["permissions"] == {"contents": "read"}
    gate, updating = document["jobs"]["gate"], document["jobs"]["update-baselines"]
    assert gate["permissions"] == {"contents": "read", "pull-requests": "write"}
    assert updating["permissions"] == {"contents": "write"}
    assert "pull_request_target" not in document[True]  # `on` of YAML 1.1
    for step in (*gate["steps"], *updating["steps"]):
        assert re.fullmatch(r"actions/[a-z-]+@[0-9a-f]{40}", step.get("uses", f"actions/none@{'0' * 40}"))
    posting = next(step for step in gate["steps"] if "post-github" in step.get("run", ""))
    assert posting["if"] == "${{ !cancelled() }}"
    assert not any("continue-on-error" in step for step in gate["steps"])


def test_the_gitlab_template_shows_the_verdict_and_lets_nothing_pass() -> None:
    document = yaml.safe_load((SCRIPTS / "gitlab.yml").read_text())
    assert document[".gate"]["artifacts"]["reports"] == {"junit": "gate/gate.xml"}
    assert document["gate"]["after_script"] == ["ci/post-gitlab.sh"]
    assert not any("allow_failure" in job for job in document.values())
    first, second, *_ = document["update-baselines"]["script"][2:]
    assert (first[:8], second) == ("git pull", "ci/baselines.sh pull")  # the record before what it names


def test_the_push_token_is_asked_for_and_never_an_argument(job: Any) -> None:
    update_job = yaml.safe_load((SCRIPTS / "gitlab.yml").read_text())["update-baselines"]
    assert "TOKEN" not in json.dumps(update_job["variables"])
    exports = "\n".join(line for line in update_job["script"] if line.startswith("export "))
    done = subprocess.run(
        ["bash", "-c", f"{exports}\ngit credential fill"], input="protocol=https\nhost=lab\n\n", text=True,
        env={**job.environment, "GITLAB_PUSH_TOKEN": "secret"}, capture_output=True, timeout=60, check=False,
    )  # fmt: skip
    assert {"username=gate", "password=secret"} <= set(done.stdout.splitlines())


@pytest.mark.skipif(shutil.which("shellcheck") is None, reason="needs shellcheck")
def test_scripts_are_clean() -> None:
    done = subprocess.run(
        ["shellcheck", "-x", *map(str, SCRIPTS.glob("*.sh"))], cwd=SCRIPTS, capture_output=True, text=True, timeout=60,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
