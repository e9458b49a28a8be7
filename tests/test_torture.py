"""Stopped commands lose nothing and changed files change no answer: a seeded sample of `benchmarks/torture.py`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from torture.answers import each_in_children
from torture.changes import change_artifacts, change_inputs
from torture.inventory import Expected, inventory, whole
from torture.offline import run_offline
from torture.pairs import run_pairs
from torture.stage import CASES, Case, Stage
from torture.stops import Known, stop_at_random, stop_everywhere, undisturbed
from torture.tally import Budget, Tally, table

from lorkit.decompose.artifacts import write_manifest

pytestmark = pytest.mark.slow
BUDGET = Budget(seed=23)
QUICK = ("init again", "pretrain again", "train again", "evaluate again", "predict again", "pack again")


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Stage:
    stage = Stage(tmp_path_factory.mktemp("torture").resolve())
    stage.build(without=("bench", "gate", "compare", "report"))
    return stage


@pytest.fixture(scope="module")
def known(stage: Stage) -> Sequence[Known]:
    return [undisturbed(stage, case) for case in CASES if case.name in QUICK]


def passed(tally: Tally, tried: int) -> None:
    assert tally.failures == []
    assert tally.tried == tried


def test_a_killed_command_loses_nothing(stage: Stage, known: Sequence[Known]) -> None:
    passed(stop_everywhere(stage, known, BUDGET, most=12), 12)
    passed(stop_at_random(stage, known, BUDGET, 4), 4)


def test_a_full_disk_is_named_and_loses_nothing(stage: Stage, known: Sequence[Known]) -> None:
    passed(stop_everywhere(stage, known, BUDGET, full=True, most=6), 6)


def test_a_changed_artifact_is_refused_or_answers_as_before(stage: Stage) -> None:
    passed(change_artifacts(stage, BUDGET, 100, sealed=False), 100)


def test_inputs_are_read_or_refused(stage: Stage) -> None:
    passed(change_inputs(BUDGET, 300), 300)


def test_two_commands_at_once_wait_or_refuse(stage: Stage, known: Sequence[Known]) -> None:
    passed(run_pairs(stage, known, BUDGET, most=3), 3)


def test_commands_need_no_network(stage: Stage) -> None:
    quick = [case for case in CASES if case.name in ("predict", "evaluate", "init")]
    passed(run_offline(stage, BUDGET, quick), 3)


def test_every_command_has_a_case() -> None:
    from lorkit.cli.application import COMMANDS

    assert {case.verb for case in CASES} == {*COMMANDS, "profiles"}


def artifact(folder: Path, text: str = "one") -> Path:
    (folder / "x").mkdir(exist_ok=True)
    (folder / "x" / "a.json").write_text(f'{{"a": "{text}"}}', encoding="utf-8")
    write_manifest(folder / "x", "expert", synthetic=False)
    return folder


def test_what_is_lost_wrong_or_half_written_is_found(tmp_path: Path) -> None:
    before = inventory(artifact(tmp_path))
    after = inventory(artifact(tmp_path, "two"))
    expected = Expected(before, after, frozenset({"x/manifest.json"}))
    assert expected.problems(tmp_path, finished=True) == []
    (tmp_path / "x" / "a.json").write_text("{", encoding="utf-8")
    assert {line.split(":")[0] for line in expected.problems(tmp_path)} == {"wrong", "half-written"}
    (tmp_path / "x" / "a.json").unlink()
    assert "lost: x/a.json" in expected.problems(tmp_path)


def test_a_file_that_ends_early_is_not_whole(tmp_path: Path) -> None:
    for name, good, bad in (
        ("a.json", "{}", '{"a'), ("a.jsonl", '{"a": 1}\n', '{"a'), ("a.html", "<html></html>", "<html>"),
        ("a.tar", None, "x"), ("a.txt", "x", ""),
    ):  # fmt: skip
        path = tmp_path / name
        path.write_text(bad)
        assert not whole(path)
        if good is not None:
            path.write_text(good)
            assert whole(path)


def test_a_crash_in_a_child_is_a_finding_and_the_others_are_judged() -> None:
    import os

    def judge(item: int) -> str:
        if item == 1:
            os._exit(7)
        return "" if item == 0 else "bad"

    assert each_in_children([0, 1, 2], judge) == [(0, ""), (1, "ended its process with 7"), (2, "bad")]


def test_the_table_states_the_share() -> None:
    tally = Tally("x", planned=8)
    tally.add([], "here")
    assert table([tally]).splitlines()[-1] == "| x | 1 | 12.5 % | 0 |"


def numbers() -> Iterator[int]:
    yield from range(100)


def test_a_shorter_pass_is_the_begin_of_the_full_one() -> None:
    whole_pass = list(BUDGET.shuffled(list(numbers())))
    assert sorted(whole_pass) == list(numbers())
    assert list(BUDGET.shuffled(list(numbers()), 7)) == whole_pass[:7]
    assert list(Budget.of_seconds(0, -1).shuffled([1])) == []


def test_cases_start_from_states_that_are_built() -> None:
    from torture.stage import STATES

    assert {case.state for case in CASES} <= {name for name, _ in STATES}
    assert all(isinstance(case, Case) for case in CASES)
