"""The scripts of `examples/ci`, run as the templates call them, with `gh`, `curl` and a remote that only remember."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
import typer.main
import yaml

from lorkit.cli.main import app
from lorkit.cli.reference import verbs
from lorkit.decompose.runs import Run, export_directory
from lorkit.export.baselines import adopt, read_record
from lorkit.export.exported import read_exported

SCRIPTS = Path(__file__).parents[2] / "examples" / "ci"
TEMPLATES = ("github.yml", "gitlab.yml")
MARK = "<!-- lorkit gate -->"
FAKE = """#!{python}
import json, os, pathlib, shutil, sys
root, name, words = pathlib.Path(os.environ["REMEMBERED"]), pathlib.Path(sys.argv[0]).name, sys.argv[1:]
bodies = [word.partition("@")[2] for word in words if word.startswith(("body=@", "body@"))]
sent = [pathlib.Path(path).read_text() for path in bodies]
with open(root / "calls.jsonl", "a") as stream:
    stream.write(json.dumps([name, words, sent]) + "\\n")
if os.environ.get("REFUSED"):
    sys.exit("HTTP 403: Resource not accessible by integration")
assets = root / "assets"
assets.mkdir(exist_ok=True)
if words[:2] == ["release", "view"]:
    print("\\n".join(path.name for path in assets.iterdir()))
elif words[:2] == ["release", "upload"]:
    shutil.copy(words[3], assets)
elif words[:2] == ["release", "download"]:
    shutil.copy(assets / words[words.index("--pattern") + 1], words[words.index("--dir") + 1])
elif "--upload-file" in words:
    shutil.copy(words[words.index("--upload-file") + 1], assets)
elif "--head" in words:
    sys.exit(22 * (not (assets / (words[-1].split("/")[-2] + ".tar.gz")).exists()))
elif "--output" in words:
    shutil.copy(assets / (words[-1].split("/")[-2] + ".tar.gz"), words[words.index("--output") + 1])
else:
    print(os.environ.get("ANSWER", ""))
"""


class Job:
    """A job of a pipeline in `path`: its environment, and what its scripts asked of the outside."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.bin, self.remembered = path / "bin", path / "remembered"
        for directory in (self.bin, self.remembered):
            directory.mkdir()
        for name in ("gh", "curl"):
            self.install(name, FAKE.format(python=sys.executable))
        path_list = os.pathsep.join([str(self.bin), str(Path(sys.executable).parent), os.environ["PATH"]])
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("GITHUB_", "CI_", "GITLAB_"))}
        self.environment = {**kept, "PATH": path_list, "REMEMBERED": str(self.remembered), "OMP_NUM_THREADS": "1"}

    def install(self, name: str, text: str) -> None:
        (self.bin / name).write_text(text)
        (self.bin / name).chmod(0o755)

    def decompose(self, code: int, verdict: str = "pass") -> None:
        """Let `decompose` be a program that measures nothing: a verdict on latency is never certain in a test."""
        lines = ["#!/bin/sh", 'echo "$@" > "$REMEMBERED/decompose"', f'echo \'{{"verdict": "{verdict}"}}\'']
        lines += ['while [ $# -gt 0 ]; do case $1 in --markdown|--junit) echo "### Gate" > "$2";; esac; shift; done']
        self.install("decompose", "\n".join([*lines, f"exit {code}"]))

    def run(self, script: str, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [str(SCRIPTS / script), *words], cwd=self.path, env={**self.environment, **environment}, text=True,
            capture_output=True, timeout=120, check=False,
        )  # fmt: skip

    @property
    def calls(self) -> list[Any]:
        path = self.remembered / "calls.jsonl"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.is_file() else []


@pytest.fixture
def job(tmp_path: Path) -> Job:
    return Job(tmp_path)


def test_the_real_gate_fails_the_job_and_leaves_what_a_pipeline_shows(a_run: Run, job: Job, workshop: Any) -> None:
    directory = export_directory(a_run, "expert", "chest", "onnx", "cpu-generic", "fp32")
    adopt(job.path / "baselines", read_exported(directory), "pass")
    shutil.rmtree(directory)
    workshop.write_export(directory, owner="expert", region="chest", parent=a_run.path, work=40, width=16)
    done = job.run("gate.sh", "--region", "chest", "--max-seconds", "2", GITHUB_ACTIONS="true")
    assert done.returncode == 1, done.stderr
    document = json.loads((job.path / "gate" / "gate.json").read_text())
    assert document["regions"]["chest"]["deterministic"]["verdict"] == "fail"
    assert document["regions"]["chest"]["baseline"]["path"].startswith("baselines/exports/")
    assert "FAIL" in (job.path / "gate" / "gate.md").read_text()
    assert int(ElementTree.parse(job.path / "gate" / "gate.xml").getroot().attrib["failures"]) > 0
    assert re.search("^::error title=gate chest%3A FAIL::", done.stderr, re.MULTILINE)


@pytest.mark.parametrize("code", [0, 1, 3])
def test_the_exit_code_is_that_of_the_gate(job: Job, code: int) -> None:
    job.decompose(code)
    done = job.run("gate.sh", "--margin", "0.05")
    assert done.returncode == code
    assert sorted(path.name for path in (job.path / "gate").iterdir()) == ["gate.json", "gate.md", "gate.xml"]
    assert (job.remembered / "decompose").read_text().endswith("--margin 0.05\n")
    assert "no baselines/baselines.json yet" in done.stderr


@pytest.mark.parametrize("code", [2, 4, 70, 137])
def test_a_gate_that_did_not_finish_leaves_no_verdict(job: Job, code: int) -> None:
    job.decompose(0)
    job.run("gate.sh")
    job.decompose(code)
    done = job.run("gate.sh")
    assert done.returncode == code
    assert sorted(path.name for path in (job.path / "gate").iterdir()) == ["gate.md"]
    assert f"NOT JUDGED\n\n`decompose gate` ended with exit code {code}" in (job.path / "gate" / "gate.md").read_text()


PULL = {"GITHUB_REPOSITORY": "ward/experts", "GITHUB_REF": "refs/pull/17/merge"}
MERGE = {
    "CI_API_V4_URL": "https://lab/api/v4",
    "CI_PROJECT_ID": "5",
    "CI_MERGE_REQUEST_IID": "8",
    "GITLAB_TOKEN": "secret",
}


@pytest.mark.parametrize(
    ("script", "known", "environment", "expected"),
    [
        ("post-github.sh", "", PULL, ["POST", "repos/ward/experts/issues/17/comments"]),
        ("post-github.sh", "91\n95", PULL, ["PATCH", "repos/ward/experts/issues/comments/91"]),
        ("post-gitlab.sh", '[{"id": 3, "body": "hm"}]', MERGE, ["POST", "https://lab/api/v4/projects/5/merge_requests/8/notes"]),
        ("post-gitlab.sh", json.dumps([{"id": 3, "body": "hm"}, {"id": 4, "body": f"{MARK}\nold"}]), MERGE,
         ["PUT", "https://lab/api/v4/projects/5/merge_requests/8/notes/4"]),
    ],
)  # fmt: skip
def test_one_comment_is_written_and_then_renewed(
    job: Job, script: str, known: str, environment: dict[str, str], expected: list[str]
) -> None:
    (job.path / "gate").mkdir()
    (job.path / "gate" / "gate.md").write_text("### Gate: PASS " + "é" * 80_000)
    summary = job.path / "summary.md"
    done = job.run(script, ANSWER=known, GITHUB_STEP_SUMMARY=str(summary), **environment)
    assert (done.returncode, done.stderr) == (0, "")
    _, words, (sent,) = job.calls[-1]
    assert [word for word in expected if word in words] == expected
    assert sent.startswith(f"{MARK}\n### Gate: PASS")
    assert len(sent) <= 60_100
    assert "secret" not in json.dumps(job.calls)
    assert summary.is_file() == (script == "post-github.sh")


@pytest.mark.parametrize(("script", "environment"), [("post-github.sh", PULL), ("post-gitlab.sh", MERGE)])
def test_a_comment_that_cannot_be_written_is_a_warning(job: Job, script: str, environment: dict[str, str]) -> None:
    done = job.run(script, ANSWER="[]" if "gitlab" in script else "", **environment)
    assert "the gate has not run" in done.stdout + done.stderr
    (job.path / "gate").mkdir()
    (job.path / "gate" / "gate.md").write_text("### Gate: FAIL")
    assert job.calls[-1][2][0].startswith(f"{MARK}\n### Gate: NOT JUDGED")  # the last one may have said PASS
    done = job.run(script, REFUSED="1", **environment)
    assert done.returncode == 0
    assert "could not be posted" in done.stdout + done.stderr
    outside = {name: value for name, value in environment.items() if name not in ("GITHUB_REF", "CI_MERGE_REQUEST_IID")}
    calls = len(job.calls)
    assert job.run(script, **outside).returncode == 0
    assert len(job.calls) == calls


@pytest.mark.parametrize("host", [{}, {"GITLAB_CI": "true", "CI_JOB_TOKEN": "secret", "CI_API_V4_URL": "https://lab"}])
def test_baselines_are_kept_by_digest_outside_the_repository(
    job: Job, workshop: Any, host: dict[str, str], tmp_path: Path
) -> None:
    assert job.run("baselines.sh", "pull", **host).returncode == 0  # none yet
    one = read_exported(workshop.write_export(tmp_path / "v1", owner="expert", region="chest"))
    adopt(tmp_path / "baselines", one, "pass")
    place = tmp_path / "baselines" / "exports" / one.manifest.digest
    done = job.run("baselines.sh", "push", **host)
    assert done.stdout == f"stored baseline {one.manifest.digest}\n", done.stderr
    assert job.run("baselines.sh", "push", **host).stdout == ""
    shutil.rmtree(place)
    done = job.run("baselines.sh", "pull", **host)
    assert done.stdout == f"fetched baseline {one.manifest.digest}\n", done.stderr
    assert read_exported(place).manifest.digest == one.manifest.digest
    assert "secret" not in json.dumps(job.calls)
    shutil.rmtree(place)
    shutil.rmtree(job.remembered / "assets")
    done = job.run("baselines.sh", "pull", **host)
    assert done.returncode == 4
    assert f"baseline {one.manifest.digest} could not be fetched" in done.stderr
    assert list(place.parent.iterdir()) == []
    assert job.run("baselines.sh", "fetch").returncode == 2


def test_adoption_stores_first_and_commits_who_replaced_what(a_run: Run, job: Job) -> None:
    def git(*words: str) -> str:
        return subprocess.run(
            ["git", *words], cwd=job.path, check=True, capture_output=True, text=True, timeout=60
        ).stdout

    git("init", "-q", "-b", "main")
    git("init", "-q", "--bare", "remote.git")
    (job.path / ".gitignore").write_text("*\n!/baselines\n!/baselines/baselines.json\n")
    settings = {"GIT_REMOTE": "remote.git", "GIT_BRANCH": "main", "GITHUB_ACTOR": "ward"}
    words = ("--region", "chest", "--max-seconds", "2", "--max-accuracy-drop", "0.05")
    done = job.run("adopt.sh", *words, "--because", "the first", **settings)
    assert done.returncode in (0, 3), done.stderr
    record = read_record(job.path / "baselines")
    (entry,) = record["history"]
    assert (entry["replaced"], entry["because"], entry["who"]) == (None, "the first", "ward")
    assert entry["cases"]
    assert (job.remembered / "assets" / f"{entry['by']}.tar.gz").is_file()
    assert git("-C", "remote.git", "show", "--stat", "--format=%s", "main").split()[-1] == "insertions(+)"
    assert entry["by"] in git("-C", "remote.git", "show", "main:baselines/baselines.json")
    job.decompose(1)
    done = job.run("adopt.sh", *words, **settings)
    assert (done.returncode, done.stdout) == (1, "the baselines stay\n")


def test_an_adoption_that_is_not_recorded_is_an_error_and_no_verdict(job: Job, workshop: Any, tmp_path: Path) -> None:
    job.decompose(0)
    for where in ({}, {"GIT_BRANCH": "main"}):  # no branch; no repository
        done = job.run("adopt.sh", GIT_CEILING_DIRECTORIES=str(tmp_path.parent), **where)
        assert done.returncode == 2
        assert "required: a git repository" in done.stderr
    assert not (job.remembered / "decompose").exists()
    subprocess.run(["git", "init", "-q"], cwd=job.path, check=True, timeout=60)
    one = read_exported(workshop.write_export(tmp_path / "v1", owner="expert", region="chest"))
    adopt(job.path / "baselines", one, "pass")
    done = job.run("adopt.sh", GIT_BRANCH="main", GIT_REMOTE="nowhere.git")
    assert done.returncode == 6
    assert "not in service" in done.stderr


def test_only_the_export_of_that_digest_is_unpacked(job: Job, workshop: Any, tmp_path: Path) -> None:
    one, two = (
        read_exported(workshop.write_export(tmp_path / name, owner="expert", region="chest", work=work))
        for work, name in enumerate(("v1", "v2"), 1)
    )
    adopt(job.path / "baselines", one, "pass")
    shutil.rmtree(job.path / "baselines" / "exports")
    assets = job.remembered / "assets"
    assets.mkdir()
    (one.path / "linked").symlink_to("/etc/passwd")
    for source in (two.path, one.path):
        with tarfile.open(assets / f"{one.manifest.digest}.tar.gz", "w:gz") as archive:
            archive.add(source, ".")
        assert job.run("baselines.sh", "pull").returncode == 4
        assert list((job.path / "baselines" / "exports").iterdir()) == []


def test_a_long_list_of_assets_is_read_to_its_end(job: Job, workshop: Any, tmp_path: Path) -> None:
    one = read_exported(workshop.write_export(tmp_path / "v1", owner="expert", region="chest"))
    adopt(job.path / "baselines", one, "pass")
    listed = f"i=0; while [ $i -lt 3000 ]; do echo {one.manifest.digest}.tar.gz; i=$((i+1)); done"
    job.install("gh", f'#!/bin/sh\n[ "$2" = view ] || exit 9\n{listed} || exit 9\n')
    done = job.run("baselines.sh", "push")
    assert (done.returncode, done.stdout) == (0, "")


@pytest.mark.parametrize("text", ["", "[]", '{"current": 5}', '{"current": {"a": "../../etc"}}'])
def test_a_record_of_something_else_ends_as_a_damaged_artifact(job: Job, text: str) -> None:
    (job.path / "baselines").mkdir()
    (job.path / "baselines" / "baselines.json").write_text(text)
    done = job.run("baselines.sh", "pull")
    assert done.returncode == 4
    assert len(done.stderr.splitlines()) == 1


def test_the_push_token_is_asked_for_and_never_an_argument(job: Job) -> None:
    adopt_job = yaml.safe_load((SCRIPTS / "gitlab.yml").read_text())["adopt"]
    assert "TOKEN" not in json.dumps(adopt_job["variables"])
    exports = "\n".join(line for line in adopt_job["script"] if line.startswith("export "))
    done = subprocess.run(
        ["bash", "-c", f"{exports}\ngit credential fill"], input="protocol=https\nhost=lab\n\n", text=True,
        env={**job.environment, "GITLAB_PUSH_TOKEN": "secret"}, capture_output=True, timeout=60, check=False,
    )  # fmt: skip
    assert {"username=gate", "password=secret"} <= set(done.stdout.splitlines())


@pytest.mark.parametrize("template", TEMPLATES)
def test_templates_call_scripts_that_are_here_with_options_that_exist(template: str) -> None:
    text = (SCRIPTS / template).read_text()
    assert yaml.safe_load(text)
    called = re.findall(r"\bci/([a-z-]+\.sh)((?: [^\s#\"]+)*)", text)
    assert {"gate.sh", "adopt.sh", "baselines.sh", "candidate.sh"} < {name for name, _ in called}
    gate = dict(verbs(typer.main.get_command(app)))["decompose gate"]
    known = {name for parameter in gate.params for name in parameter.opts}
    for name, words in called:
        assert os.access(SCRIPTS / name, os.X_OK)
        assert {word for word in words.split() if word.startswith("--")} <= known
    assert "github.event." not in text.replace("github.event_name", "")  # nobody's title becomes a command


@pytest.mark.skipif(shutil.which("shellcheck") is None, reason="needs shellcheck")
def test_scripts_are_clean() -> None:
    done = subprocess.run(
        ["shellcheck", "-x", *map(str, SCRIPTS.glob("*.sh"))], cwd=SCRIPTS, capture_output=True, text=True, timeout=60,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
