"""`post-github.sh` and `post-gitlab.sh`: one comment, renewed, and never another verdict."""

from __future__ import annotations

import json
from typing import Any

import pytest

MARK = "<!-- lorkit gate -->"
PULL = {
    "GITHUB_REPOSITORY": "ward/experts",
    "GITHUB_REF": "refs/pull/17/merge",
    "GITHUB_RUN_ID": "3",
    "COMMIT": "c0ffee",
    "GITHUB_SHA": "a merge",
}
MERGE = {
    "CI_API_V4_URL": "https://lab/api/v4",
    "CI_PROJECT_ID": "5",
    "CI_MERGE_REQUEST_IID": "8",
    "CI_COMMIT_SHA": "c0ffee",
    "CI_JOB_URL": "https://lab/job",
    "GITLAB_TOKEN": "secret",
}


def note(number: int, author: int, body: str = MARK) -> dict[str, Any]:
    return {"id": number, "author": {"id": author}, "body": body}


CROWD = [note(number, 1, "hm") for number in range(100)]


@pytest.mark.parametrize(
    ("script", "known", "environment", "expected"),
    [
        ("post-github.sh", "", PULL, ["POST", "repos/ward/experts/issues/17/comments"]),
        ("post-github.sh", "91\n95", PULL, ["PATCH", "repos/ward/experts/issues/comments/91"]),
        ("post-gitlab.sh", json.dumps([[note(3, 7, "hm"), note(4, 1)]]), MERGE,
         ["POST", "https://lab/api/v4/projects/5/merge_requests/8/notes"]),
        ("post-gitlab.sh", json.dumps([CROWD, [note(204, 7, f"{MARK}\nold")]]), MERGE,
         ["PUT", "https://lab/api/v4/projects/5/merge_requests/8/notes/204"]),
        ("post-gitlab.sh", json.dumps([[]]), {**MERGE, "CI_MERGE_REQUEST_PROJECT_ID": "6"},
         ["POST", "https://lab/api/v4/projects/6/merge_requests/8/notes"]),
    ],
)  # fmt: skip
def test_one_comment_is_written_and_then_renewed(
    job: Any, script: str, known: str, environment: dict[str, str], expected: list[str]
) -> None:
    (job.path / "gate").mkdir()
    (job.path / "gate" / "gate.md").write_text("### Gate: PASS\n\n<details>\n\n" + "é\n" * 40_000 + "</details>\n")
    summary = job.path / "summary.md"
    done = job.run(script, ANSWER=known, GITHUB_STEP_SUMMARY=str(summary), **environment)
    assert (done.returncode, done.stderr) == (0, "")
    _, words, (sent,) = job.calls[-1]
    assert [word for word in expected if word in words] == expected
    assert sent.startswith(f"{MARK}\n### Gate: PASS")
    assert len(sent) <= 60_500
    assert sent.count("<details>") == sent.count("</details>") == 1
    assert "Shortened" in sent
    assert "\nCommit c0ffee, [job](https://" in sent
    assert "secret" not in json.dumps(job.calls)
    assert summary.is_file() == (script == "post-github.sh")


@pytest.mark.parametrize(("script", "environment"), [("post-github.sh", PULL), ("post-gitlab.sh", MERGE)])
def test_a_comment_that_cannot_be_written_is_a_warning(job: Any, script: str, environment: dict[str, str]) -> None:
    (job.path / "gate").mkdir()
    (job.path / "gate" / "gate.md").write_text("### Gate: FAIL")
    done = job.run(script, REFUSED="1", **environment)
    assert done.returncode == 0
    assert "could not be posted" in done.stdout + done.stderr
    outside = {name: value for name, value in environment.items() if name not in ("GITHUB_REF", "CI_MERGE_REQUEST_IID")}
    calls = len(job.calls)
    assert job.run(script, **outside).returncode == 0
    assert len(job.calls) == calls


@pytest.mark.parametrize(("script", "environment"), [("post-github.sh", PULL), ("post-gitlab.sh", MERGE)])
def test_a_job_that_did_not_reach_the_gate_takes_the_older_verdict_down(
    job: Any, script: str, environment: dict[str, str]
) -> None:
    known = "91" if script == "post-github.sh" else json.dumps([[note(91, 7, f"{MARK}\n### Gate: PASS")]])
    done = job.run(script, ANSWER=known, **environment)
    assert (done.returncode, done.stderr) == (0, "")
    _, words, (sent,) = job.calls[-1]
    assert any(word.endswith("/91") for word in words)
    assert sent.startswith(f"{MARK}\n### Gate: NOT JUDGED\n")
