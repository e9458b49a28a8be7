"""`baselines.sh` and `update-baselines.sh`: exports are stored by digest, and replacements are committed."""

from __future__ import annotations

import json
import shutil
import subprocess
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lorkit.decompose.runs import Run
from lorkit.export.gating.baselines import read_record, replace_baseline
from lorkit.export.runtime.exported import read_exported


@pytest.mark.parametrize("host", [{}, {"GITLAB_CI": "true", "CI_JOB_TOKEN": "secret", "CI_API_V4_URL": "https://lab"}])
def test_baselines_are_kept_by_digest_outside_the_repository(
    job: Any, workshop: Any, host: dict[str, str], tmp_path: Path
) -> None:
    assert job.run("baselines.sh", "pull", **host).returncode == 0  # none yet
    one = read_exported(workshop.write_export(tmp_path / "v1", owner="expert", region="chest"))
    replace_baseline(tmp_path / "baselines", one, "pass")
    place = tmp_path / "baselines" / "exports" / one.manifest.digest
    done = job.run("baselines.sh", "push", **host)
    assert done.stdout == f"stored baseline {one.manifest.digest}\n", done.stderr
    assert job.run("baselines.sh", "push", **host).stdout == ""
    shutil.rmtree(place)
    done = job.run("baselines.sh", "pull", **host)
    assert done.stdout == f"fetched baseline {one.manifest.digest}\n", done.stderr
    assert read_exported(place).manifest.digest == one.manifest.digest
    assert "secret" not in json.dumps(job.calls)
    (place / "manifest.json").write_text("{}")  # on a runner that keeps its files
    assert job.run("baselines.sh", "pull", **host).stdout == f"fetched baseline {one.manifest.digest}\n"
    assert read_exported(place).manifest.digest == one.manifest.digest
    assert job.run("baselines.sh", "pull", **host).stdout == ""
    shutil.rmtree(place)
    shutil.rmtree(job.remembered / "assets")
    done = job.run("baselines.sh", "pull", **host)
    assert done.returncode == 4
    assert f"baseline {one.manifest.digest} could not be fetched" in done.stderr
    assert list(place.parent.iterdir()) == []
    done = job.run("baselines.sh", "push", **host)
    assert (done.returncode, one.manifest.digest in done.stderr) == (4, True)
    assert job.run("baselines.sh", "fetch").returncode == 2


@pytest.mark.parametrize(
    "text",
    ["", "[]", "{", "{}", '{"current": 5}', '{"current": {"chest/onnx/cpu/fp32": "../../x"}}', '{"current": []}'],
)
def test_a_damaged_record_is_no_fail(job: Any, text: str) -> None:
    (job.path / "baselines").mkdir()
    (job.path / "baselines" / "baselines.json").write_text(text)
    done = job.run("baselines.sh", "pull")
    assert (done.returncode, job.calls) == (4, [])
    assert "baselines.json has no valid baselines" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def git(*words: str, at: Path) -> str:
    who = ["-c", "user.name=somebody", "-c", "user.email=somebody"]
    return subprocess.run(
        ["git", *who, *words], cwd=at, check=True, capture_output=True, text=True, timeout=60
    ).stdout  # fmt: skip


def test_an_update_stores_first_and_commits_who_replaced_what(a_run: Run, job: Any) -> None:
    git("init", "-q", "-b", "main", at=job.path)
    git("init", "-q", "--bare", "remote.git", at=job.path)
    (job.path / ".gitignore").write_text("*\n!/baselines\n!/baselines/baselines.json\n")
    settings = {"GIT_REMOTE": "remote.git", "GIT_BRANCH": "main", "GITHUB_ACTOR": "ward"}
    words = ("--region", "chest", "--max-seconds", "0.1", "--max-accuracy-drop", "0.05")
    done = job.run("update-baselines.sh", *words, "--because", "the first", **settings)
    assert done.returncode in (0, 3), done.stderr
    (entry,) = read_record(job.path / "baselines").history
    assert (entry.replaced, entry.because, entry.who) == (None, "the first", "ward")
    assert entry.case_digest
    assert (job.remembered / "assets" / f"{entry.by}.tar.gz").is_file()
    remote = job.path / "remote.git"
    assert git("show", "--name-only", "--format=%s", "main", at=remote).splitlines()[2:] == ["baselines/baselines.json"]
    assert entry.by in git("show", "main:baselines/baselines.json", at=remote)
    job.decompose(1)
    done = job.run("update-baselines.sh", *words, **settings)
    assert (done.returncode, done.stdout) == (1, "the baselines are unchanged\n")


@pytest.fixture
def merged(tmp_path: Path, workshop: Any, make_job: Callable[[Path], Any]) -> Any:
    """A job on a shallow, detached checkout of a remote's main; its `decompose` replaces a baseline at once."""
    git("init", "-q", "-b", "main", "other", at=tmp_path)
    for name in ("first", "second"):
        (tmp_path / "other" / name).write_text(name)
        git("add", ".", at=tmp_path / "other")
        git("commit", "-q", "-m", name, at=tmp_path / "other")
    git("clone", "-q", "--bare", "other", "remote.git", at=tmp_path)
    git("clone", "-q", "--depth", "1", f"file://{tmp_path}/remote.git", "job", at=tmp_path)
    git("checkout", "-q", "--detach", at=tmp_path / "job")
    replace_baseline(
        tmp_path / "made", read_exported(workshop.write_export(tmp_path / "v1", owner="expert", region="chest")), "pass"
    )
    job = make_job(tmp_path / "job")
    job.decompose(0, 'cp -r ../made baselines; eval "$MEANWHILE"')
    return job


def merge(name: str) -> str:
    """Return what another merge of a file does to the remote's main."""
    commit = "git -c user.name=o -c user.email=o commit -qm third"
    return (
        f"(cd ../other; mkdir -p baselines; echo third > {name}; git add .; {commit}; git push -q ../remote.git main)"
    )


def test_others_may_merge_while_the_gate_judges(merged: Any) -> None:
    done = merged.run("update-baselines.sh", GIT_BRANCH="main", MEANWHILE=merge("third"))
    assert done.returncode == 0, done.stderr
    assert "--because" not in (merged.remembered / "decompose").read_text()
    log = git("log", "--format=%s", "main", at=merged.path.parent / "remote.git").splitlines()
    assert log == ["Replace baselines after the gate [skip ci]", "third", "second", "first"]


@pytest.mark.parametrize(
    ("trouble", "environment", "said"),
    [
        ("true", {"MEANWHILE": merge("baselines/baselines.json")}, "was changed by another commit"),
        (
            "printf '#!/bin/sh\nexit 1' > ../remote.git/hooks/pre-receive; chmod +x ../remote.git/hooks/*",
            {},
            "the push to main failed",
        ),
        ("echo baselines > .gitignore", {}, "check .gitignore"),
        ("true", {"REFUSED": "1"}, "the exports could not be stored"),
    ],
)
def test_a_record_that_cannot_be_kept_is_an_error_and_never_half_kept(
    merged: Any, trouble: str, environment: dict[str, str], said: str
) -> None:
    subprocess.run(["sh", "-c", trouble], cwd=merged.path, check=True, timeout=60)
    done = merged.run(
        "update-baselines.sh", **{"GIT_BRANCH": "main", "MEANWHILE": "", "BECAUSE": "it is urgent", **environment}
    )
    assert (done.returncode, done.stderr.count(said)) == (6, 1), done.stderr
    assert (merged.remembered / "decompose").read_text().endswith("--because it is urgent\n")
    assert "Replace" not in git("log", "--format=%s", "main", at=merged.path.parent / "remote.git")


def test_an_update_that_is_not_recorded_is_an_error_and_no_verdict(job: Any, workshop: Any, tmp_path: Path) -> None:
    job.decompose(0)
    for where in ({}, {"GIT_BRANCH": "main"}):  # no branch; no repository
        done = job.run("update-baselines.sh", GIT_CEILING_DIRECTORIES=str(tmp_path.parent), **where)
        assert done.returncode == 2
        assert "required: a git repository" in done.stderr
    assert not (job.remembered / "decompose").exists()
    subprocess.run(["git", "init", "-q"], cwd=job.path, check=True, timeout=60)
    one = read_exported(workshop.write_export(tmp_path / "v1", owner="expert", region="chest"))
    replace_baseline(job.path / "baselines", one, "pass")
    done = job.run("update-baselines.sh", GIT_BRANCH="main", GIT_REMOTE="nowhere.git")
    assert done.returncode == 6
    assert "the baselines were not updated" in done.stderr


def test_only_the_export_of_that_digest_is_unpacked(job: Any, workshop: Any, tmp_path: Path) -> None:
    one, two = (
        read_exported(workshop.write_export(tmp_path / name, owner="expert", region="chest", work=work))
        for work, name in enumerate(("v1", "v2"), 1)
    )
    replace_baseline(job.path / "baselines", one, "pass")
    shutil.rmtree(job.path / "baselines" / "exports")
    assets = job.remembered / "assets"
    assets.mkdir()
    (one.path / "linked").symlink_to("/etc/passwd")
    for source in (two.path, one.path):
        with tarfile.open(assets / f"{one.manifest.digest}.tar.gz", "w:gz") as archive:
            archive.add(source, ".")
        assert job.run("baselines.sh", "pull").returncode == 4
        assert list((job.path / "baselines" / "exports").iterdir()) == []


def test_a_long_list_of_assets_is_read_to_its_end(job: Any, workshop: Any, tmp_path: Path) -> None:
    one = read_exported(workshop.write_export(tmp_path / "v1", owner="expert", region="chest"))
    replace_baseline(job.path / "baselines", one, "pass")
    listed = f"i=0; while [ $i -lt 3000 ]; do echo {one.manifest.digest}.tar.gz; i=$((i+1)); done"
    job.install("gh", f'#!/bin/sh\n[ "$2" = view ] || exit 9\n{listed} || exit 9\n')
    done = job.run("baselines.sh", "push")
    assert (done.returncode, done.stdout) == (0, "")
