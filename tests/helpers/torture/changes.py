"""Changed files of every kind of artifact and input: refused, or the answer is as before.

What is promised of a change depends on what can be known:

- a changed file whose manifest still has the old digest: refused, or the same answer;
- a changed export with new digests: the same, or `verify` refuses it, which compares it with its expert;
- a changed run, foundation or expert with new digests: the same, or what was made from it refuses it;
- a changed input of a user: read or refused by one line. What was meant cannot be known.
"""

from __future__ import annotations

import json
import os
import random
import tempfile
import time
import warnings
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path

from file_kinds import KINDS, FileKind
from mutations import document_changes, mutations
from resealing import reseal, seal_manifest

from lorkit.decompose.artifacts import MANIFEST
from lorkit.decompose.errors import LorkitError
from torture.answers import REFUSED, Answer, ask, each_in_children
from torture.stage import Stage
from torture.tally import Budget, Tally

_TEXTS = (".json", ".jsonl", ".yaml", ".md", ".py", ".html", ".csv")
_ROUND = 25
_EXPORT, _RUN = "runs/[!.]*/exports/chest/onnx-*", "runs/[!.]*"


@dataclass(frozen=True)
class Subject:
    """An artifact, a command whose answer it determines, and the commands that notice a change that was sealed.

    Attributes:
        name: What it is.
        place: Pattern of its directory.
        words: The command; THIS is the directory.
        noticing: Commands of which one has to refuse a changed and sealed artifact; none: such changes are not tried.
        outside: Directories in it that are other artifacts.
    """

    name: str
    place: str
    words: tuple[str, ...]
    noticing: tuple[tuple[str, ...], ...] = ()
    outside: tuple[str, ...] = ()


SUBJECTS: tuple[Subject, ...] = (
    Subject("expert", "runs/[!.]*/experts/chest", ("predict", "THIS", "image.png"), (("verify", _EXPORT),)),
    Subject("export", _EXPORT, ("predict", "THIS", "image.png"), (("verify", "THIS"),)),
    Subject("run", _RUN, ("evaluate", "--run", "THIS", "--model", "student"), (("inspect", f"{_RUN}/experts/chest"),),
            ("experts", "exports", "measurements", "report", "foundation", "checkpoints")),
    Subject("foundation of a run", "runs/[!.]*/foundation", ("evaluate", "--run", _RUN, "--model", "foundation"),
            (("inspect", _RUN),)),
    Subject("foundation", "foundations/*", ("pretrain",)),
    Subject("report", "runs/[!.]*/report", ("inspect", "THIS")),
    Subject("comparison", "comparisons/*", ("compare", "--methods", "stl")),
    Subject("baseline", "store/*/*", ("predict", "THIS", "image.png")),
)  # fmt: skip


@dataclass(frozen=True)
class Change:
    """The changed bytes of a file, and whether the digests were computed again."""

    subject: Subject
    directory: Path
    file: Path
    name: str
    data: bytes
    sealed: bool

    @property
    def where(self) -> str:
        """Where it is, for a person."""
        return f"{self.subject.name}/{self.file.relative_to(self.directory)} {self.name}"


def change_artifacts(stage: Stage, budget: Budget, count: int, *, sealed: bool) -> Tally:
    """Change files of all artifacts, and ask.

    Args:
        stage: Its whole state is used.
        budget: Of this part.
        count: Number of changes.
        sealed: Compute the digests of the manifest again.
    """
    kind = "a run, foundation, expert or export, digests computed again" if sealed else "an artifact, digests kept"
    tally = Tally(f"change of {kind}", planned=count)
    work = stage.restore("whole")
    chosen = [one for one in SUBJECTS if sealed <= bool(one.noticing) and list(work.glob(one.place))]
    known = {one.name: _intact(stage, one) for one in chosen}
    for at in range(-(-count // _ROUND)):
        if budget.over:
            break
        subject, rng = chosen[at % len(chosen)], random.Random(budget.seed * 7919 + at)
        part = _changes(work, subject, rng, min(_ROUND, count - at * _ROUND), sealed)
        judged = each_in_children(part, lambda one: judge(stage, one, *known[one.subject.name]))
        for change, said in judged:
            tally.add([said] if said else [], change.where)
        stage.restore("whole")
    return tally


def judge(stage: Stage, change: Change, expected: Answer, varying: frozenset[str]) -> str:
    """Apply a change, ask, and undo it; return what is wrong."""
    manifest = change.directory / MANIFEST
    kept = {path: path.read_bytes() for path in (change.file, manifest)}
    try:
        change.file.write_bytes(change.data)
        if change.sealed:
            (seal_manifest if change.file == manifest else reseal)(change.directory)
        found = _ask(stage, change.subject, change.subject.words)
        if found.code in REFUSED or found.same(expected, varying):
            return ""
        if found.code != expected.code:
            return f"exit {found.code}: {found.line}"
        if change.sealed:
            told = [_ask(stage, change.subject, words) for words in change.subject.noticing]
            if any(one.code in REFUSED for one in told):
                return ""
        places = sorted(found.differing(expected) - varying)[:3]
        return f"accepted with another answer: {[(at, expected.values.get(at), found.values.get(at)) for at in places]}"
    finally:
        for path, data in kept.items():
            path.write_bytes(data)


def change_inputs(budget: Budget, count: int, kinds: Sequence[FileKind] = KINDS) -> Tally:
    """Change files of all kinds that users give, and read them as commands do."""
    tally = Tally("change of an input: image, table, graph, weights, configuration", planned=count)
    with tempfile.TemporaryDirectory() as folder:
        for at in range(-(-count // _ROUND)):
            if budget.over:
                break
            kind = kinds[at % len(kinds)]
            place = Path(folder) / kind.name
            if not place.exists():
                place.mkdir()
                # in a child: a library that has started threads here would hang in later children
                each_in_children([kind], lambda one, at=place: str(one.write(at)))  # type: ignore[misc]
            path = place / kind.file
            intact = path.read_bytes()
            part = list(mutations(intact, seed=budget.seed * 7919 + at, count=min(_ROUND, count - at * _ROUND),
                                  text=kind.text))  # fmt: skip
            for (name, _), said in each_in_children(part, lambda one, at=path, kind=kind: _read(kind, at, one[1])):  # type: ignore[misc]
                tally.add([said] if said else [], f"{kind.name} {name}")
            path.write_bytes(intact)
    return tally


def _read(kind: FileKind, path: Path, data: bytes) -> str:
    path.write_bytes(data)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            kind.read(path)
        except LorkitError as error:
            return "" if error.exit_code in REFUSED else f"exit {error.exit_code}: {error}"
    return ""


def _changes(work: Path, subject: Subject, rng: random.Random, count: int, sealed: bool) -> list[Change]:
    directory = min(work.glob(subject.place))
    files = sorted(
        path
        for path in directory.rglob("*")
        if path.is_file() and path.relative_to(directory).parts[0] not in subject.outside
    )
    found: list[Change] = []
    while len(found) < count:
        path = rng.choice(files)
        data, seed = path.read_bytes(), rng.randrange(2**32)
        if path.suffix == ".json" and (sealed or rng.random() < 0.5):
            made = document_changes(data, seed=seed, count=1)
        else:
            made = islice(mutations(data, seed=seed, count=12, text=path.suffix in _TEXTS), rng.randrange(12), None)
        made = islice(made, 1)
        found += [Change(subject, directory, path, name, changed, sealed) for name, changed in made if changed != data]
    return found


def _intact(stage: Stage, subject: Subject) -> tuple[Answer, frozenset[str]]:
    """Return the answer to an intact artifact, and what of it varies; each is asked for in a child of its own."""
    told = []
    for pause_s in (0, 1.1):  # documents state their second
        time.sleep(pause_s)
        told += [
            said for _, said in each_in_children([subject], lambda one: json.dumps(asdict(_ask(stage, one, one.words))))
        ]
    try:
        one, other = (Answer(**json.loads(said)) for said in told)
    except ValueError:
        raise AssertionError(f"{subject.name}: {told}") from None
    if one.code or other.code:
        raise AssertionError(f"{subject.name}: exit {one.code}, {one.line}")
    return one, one.differing(other)


def _ask(stage: Stage, subject: Subject, words: Sequence[str]) -> Answer:
    os.chdir(stage.work)
    this = str(min(Path().glob(subject.place)))
    return ask([this if word == "THIS" else str(min(Path().glob(word))) if "*" in word else word for word in words])
