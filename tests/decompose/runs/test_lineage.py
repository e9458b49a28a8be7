from __future__ import annotations

import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from lorkit.decompose.artifacts import read_json, read_manifest, write_json, write_manifest
from lorkit.decompose.artifacts.keys import KEY_FILE, DirectoryKey
from lorkit.decompose.data.keyed_digests import keyed_digests
from lorkit.decompose.errors import ArtifactError
from lorkit.decompose.runs import OUTSIDE, Run, open_run
from lorkit.decompose.runs.lineage import RunFinder, check_parent, find_parent, run_of_expert
from lorkit.decompose.runs.locked_data import RunSplits

NEW = "ab" * 32


def derive(run: Run, change: str, origin: str) -> Run:
    """Return a copy of a run that was made from another by a change, with one image of its own."""
    path = Path(shutil.copytree(run.path, run.path.with_name(change)))
    splits = read_json(path / "splits.json", kind="splits")
    splits["regions"]["chest"]["train"] = keyed_digests([NEW], DirectoryKey(run.path.parent))
    write_json(path / "splits.json", splits)
    extra = {**run.manifest.extra, "origin": {"sha256": origin, "change": change}}
    write_manifest(path, "run", synthetic=False, inputs=change, extra=extra, outside=OUTSIDE)
    return open_run(path)


def test_a_run_has_seen_what_its_origin_has(small_run: Run) -> None:
    finder = RunFinder()
    data = RunSplits(small_run)
    own = {digest for name in data.names for part in ("train", "val") for digest in data.part(name, part).digests}
    tests = {digest for name in data.names for digest in data.part(name, "test").digests}
    seen = finder.lineage(small_run).training_cases
    assert all(digest in seen for digest in own)
    assert not any(digest in seen for digest in tests)
    child = derive(small_run, "finetune", small_run.manifest.digest)
    found = finder.lineage(child)
    assert [run.path for run in found.runs] == [child.path, small_run.path]
    assert all(digest in found.training_cases for digest in (*own, NEW))
    assert NEW not in seen
    assert found.unreadable == ()


def test_cases_of_another_key_are_unknown(small_run: Run, own_keys: None) -> None:
    assert RunFinder().lineage(small_run).unreadable == ()
    (small_run.path.parent / KEY_FILE).unlink()
    found = RunFinder().lineage(small_run)
    assert found.unreadable == small_run.regions.names
    assert len(found.training_cases) == 0
    DirectoryKey(small_run.path.parent, create=True).digest("case", b"")
    assert RunFinder().lineage(small_run).unreadable == small_run.regions.names


def test_an_origin_that_is_gone_leaves_unknown_only_what_a_fine_tuned_run_began_with(small_run: Run) -> None:
    finder = RunFinder()
    assert finder.lineage(derive(small_run, "finetune", "0" * 64)).complete is False
    assert finder.lineage(derive(small_run, "add-region", "0" * 64)).complete is True


def test_runs_are_found_by_their_own_digest_and_that_of_their_foundation(small_run: Run) -> None:
    root = small_run.path.parent
    foundation = read_manifest(small_run.path / "foundation")
    for digest in (small_run.manifest.digest, foundation.digest):
        found = RunFinder().with_digest(digest, root)
        assert found is not None
        assert found.path == small_run.path
    assert RunFinder().with_digest("0" * 64, root) is None


def test_an_expert_belongs_to_the_run_around_it_as_long_as_that_stays_the_same(small_run: Run) -> None:
    expert = small_run.path / "experts" / "chest"
    expert.mkdir(parents=True)
    write_json(expert / "x.json", {})
    write_manifest(expert, "expert", synthetic=True, parent=small_run.manifest)
    found = run_of_expert(expert)
    assert found is not None
    assert found.path == small_run.path.resolve()
    write_manifest(small_run.path, "run", synthetic=True, inputs="other", outside=OUTSIDE)
    assert RunFinder().around(expert) is not None
    assert run_of_expert(expert) is None


def test_a_finder_opens_a_run_once(small_run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[Path] = []

    def counted(path: Path) -> Run:
        opened.append(path.resolve())
        return open_run(path)

    monkeypatch.setattr("lorkit.decompose.runs.lineage.open_run", counted)
    child = derive(small_run, "finetune", small_run.manifest.digest)
    finder = RunFinder()
    first = finder.open(child.path)
    assert finder.open(child.path) is finder.around(child.path / "exports") is first
    lineage = finder.lineage(first)
    assert finder.lineage(finder.open(child.path)) is lineage
    assert finder.with_digest(small_run.manifest.digest, small_run.path.parent) is lineage.runs[1]
    assert opened == [child.path.resolve(), small_run.path.resolve()]


def test_an_expert_is_of_the_run_that_its_parent_names_wherever_runs_lie(small_run: Run, tmp_path: Path) -> None:
    def expert(digest: str | None) -> Any:
        parent = None if digest is None else {"kind": "run", "sha256": digest, "path": "../.."}
        return SimpleNamespace(path=small_run.path / "experts" / "chest", manifest=SimpleNamespace(parent=parent))

    (small_run.path / "experts" / "chest").mkdir(parents=True)
    own = expert(small_run.manifest.digest)
    check_parent(own, small_run)
    found = find_parent(own, tmp_path / "elsewhere")
    assert found is not None
    assert found.path.resolve() == small_run.path.resolve()
    for other in (expert(None), expert("0" * 64)):
        with pytest.raises(ArtifactError, match="was not extracted from run"):
            check_parent(other, small_run)
        assert find_parent(other, small_run.path.parent) is None
