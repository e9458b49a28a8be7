"""The next one or two commands, printed after a command where a person reads the terminal."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from lorkit.cli.output.streams import is_interactive, print_status

if TYPE_CHECKING:
    from lorkit.decompose.documents.compare import CompareDocument
    from lorkit.decompose.documents.export_results import ExportDocument
    from lorkit.decompose.documents.inspect import InspectDocument

IMAGE, DIRECTORY = "IMAGE", "DIR"
"""Words that stand for what only the user knows."""
_OF_ARTIFACT = {"expert": ("export", "evaluate"), "mixture": ("export",), "export": ("verify", "bench")}
"""The commands that take the path of an artifact, by its kind."""


def command(verb: str, *words: object) -> str:
    """Return a command as a shell takes it; words that are None are left out."""
    return shlex.join(["decompose", *verb.split(), *(str(word) for word in words if word is not None)])


def suggest(*commands: str) -> None:
    """Print the next commands on stderr; nothing where no person reads, and beside a JSON document."""
    if commands and is_interactive():
        print_status("\n".join(["next:", *(f"  {line}" for line in dict.fromkeys(commands))]))


def settings_words(settings: Sequence[str] | None) -> list[str]:
    """Return the words that repeat `--set`."""
    return [word for setting in settings or () for word in ("--set", setting)]


def again(*, without: str = "", also: Sequence[str] = ()) -> str:
    """Return the command line of this process without an option, and with further words."""
    return command("", *(word for word in sys.argv[1:] if word != without), *also)


def run_words(run: Path | str | None) -> list[str]:
    """Return `--run PATH`, or nothing for the newest run, which commands take without it."""
    if run is None or not is_interactive():
        return []
    newest, path = _run_path(None), _run_path(run)
    same = newest is not None and path is not None and newest.resolve() == path.resolve()
    return [] if same else ["--run", str(run)]


def _run_path(run: Path | str | None) -> Path | None:
    """Return the directory of a run by path or id, or of the newest; None without one."""
    from lorkit.decompose.runs.listing import RUNS, list_runs

    places = list_runs()[:1] if run is None else [Path(run), RUNS / str(run)]
    return next((place for place in places if place.is_dir()), None)


def after_training(run: Path) -> None:
    """Suggest what follows a new run."""
    if is_interactive():
        where = run_words(run)
        suggest(command("extract", *where), command("evaluate", *where))


def after_evaluation(path: Path | None, run: str | None) -> None:
    """Suggest to extract the experts of a run, or to export those that are extracted."""
    if not is_interactive():
        return
    place = path or _run_path(run)
    if place is not None and (place / "expert.json").is_file():
        suggest(command("export", place))
    elif place is not None:
        extracted = any((place / "experts").glob("*/manifest.json"))
        suggest(command("export" if extracted else "extract", *run_words(place)))


def after_export(path: Path | None, run: str | None, document: ExportDocument) -> None:
    """Suggest the gate of a run; of a single network, to check and to measure its export."""
    place = path or _run_path(run)
    if place is None or not (place / "regions.json").is_file():
        suggest(*(command(verb, one.path) for verb in ("verify", "bench") for one in document.exports[:1]))
    elif all(one.parity.status == "not_run" for one in document.exports):
        suggest(command("doctor"))  # which says what this machine lacks
    else:
        suggest(command("gate", *run_words(place)))


def after_check(path: Path | None, run: str | None, *, other: str) -> None:
    """Suggest the gate of a run; of a single export, the other one of `verify` and `bench`."""
    suggest(command(other, path) if path is not None else command("gate", *run_words(run)))


def after_gate(candidate: Path | None, run: str | None) -> None:
    """Suggest the report, which shows the verdict; a candidate without a run has none."""
    if candidate is None:
        suggest(command("report", *run_words(run)))


def after_comparison(document: CompareDocument, settings: Sequence[str]) -> None:
    """Suggest to train the best method on validation; a choice on the test part would need other test data."""
    if document.split == "test":
        suggest(again(also=("--split", "val")))
        return
    known = [(value, row.label) for row in document.table if (value := row.value(document.metric)) is not None]
    methods = {arm.method for arm in document.arms}
    if known and (best := max(known)[1]) in methods:  # a variant has settings of its own
        suggest(command("train", *settings, "--method", best))


def after_report(run: str | None) -> None:
    """Suggest to use an expert and to pack the run, or for phantoms to begin with own data."""
    from lorkit.decompose.artifacts import read_json

    place = _run_path(run) if is_interactive() else None
    if place is None:
        return
    manifest, regions = (read_json(place / name) for name in ("manifest.json", "regions.json"))
    if manifest["synthetic"]:
        suggest(command("init", "--from-data", DIRECTORY))
    else:
        region = regions["regions"][0]["name"]
        suggest(command("predict", *run_words(run), "--region", region, IMAGE), command("pack", run or place))


def after_inspection(document: InspectDocument) -> None:
    """Suggest what can be done with an artifact, or to write a configuration for the images."""
    for one in document.artifacts[:1]:
        words = ["--run", one.path] if one.kind == "run" else [one.path]
        verbs = ("extract", "evaluate") if one.kind == "run" else _OF_ARTIFACT.get(one.kind, ())
        suggest(*(command(verb, *words) for verb in verbs))
    if document.files and not document.artifacts:
        suggest(command("init", "--from-data", Path(document.files[0].path).parent))
