"""The smallest run through all commands, and each command with the state that it starts from.

Everything that runs a command runs in a forked child of this process, which has only imported what commands use: a
process that has trained or opened an engine has threads that its children lack.
"""

from __future__ import annotations

import importlib
import json
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from file_operations import attempt
from PIL import Image
from small_runs import REGIONS, register_tiny, write_data

from lorkit.cli.main import run_command_line
from torture.graphs import remember_graphs

SETTINGS = """image: {size: 16, channels: 1}
split: {val: 0.25, test: 0.25}
regions:
  chest: {data: chest.npz}
  knee: {data: knee.npz}
foundation: {backbone: tiny}
student: {backbone: tiny}
train: {epochs: 1, batch_size: 16, min_steps: null}
lorkd: {rank: 2}
"""
LIMIT_S = 300
_JUDGED = (0, 1, 3)  # exit codes of a gate
_SHORT = ("--max-seconds", "0.2")
CHEST = ("--region", "chest", "--target", "onnx")


@dataclass(frozen=True)
class Case:
    """A command and where it starts.

    Attributes:
        name: The command, and whether it makes something or replaces it.
        words: The words after `decompose`; RUN is the finished run.
        state: Name of the state of the directory that it starts from.
        codes: Exit codes of an undisturbed command.
    """

    name: str
    words: tuple[str, ...]
    state: str
    codes: tuple[int, ...] = (0,)

    @property
    def verb(self) -> str:
        """The command."""
        return self.words[0]


STATES: tuple[tuple[str, tuple[tuple[str, ...], ...]], ...] = (
    ("data", ()),
    ("trained", (("train",),)),
    ("extracted", (("extract",),)),
    ("exported", (("export", *CHEST),)),
    ("whole", (("evaluate",), ("bench", *CHEST, *_SHORT), ("gate", *CHEST, *_SHORT, "--update-baseline", "store",
               "--because", "first"), ("report",), ("predict", *CHEST, "image.png", "--out", "predictions"),
               ("compare", "--methods", "stl"), ("pack", "RUN", "--out", "run.tar"), ("init", "--out", "new.yaml"),
               ("data", "--sheet", "sheet.png"), ("help", "--man", "man"))),
)  # fmt: skip
"""States of the directory, each with the commands that lead to it from the one before."""
CASES: tuple[Case, ...] = (
    Case("init", ("init", "--out", "new.yaml"), "data"),
    Case("init again", ("init", "--out", "new.yaml", "--force"), "whole"),
    Case("data", ("data", "--sheet", "sheet.png"), "data"),
    Case("data again", ("data", "--sheet", "sheet.png"), "whole"),
    Case("pretrain", ("pretrain",), "data"),
    Case("pretrain again", ("pretrain", "--force"), "whole"),
    Case("train", ("train",), "data"),
    Case("train again", ("train", "--force"), "whole"),
    Case("train without a region", ("train", "--from", "RUN", "--remove-region", "knee"), "whole"),
    Case("evaluate", ("evaluate",), "exported"),
    Case("evaluate again", ("evaluate",), "whole"),
    Case("compare", ("compare", "--methods", "stl"), "trained"),
    Case("compare again", ("compare", "--methods", "stl"), "whole"),
    Case("extract", ("extract",), "trained"),
    Case("extract again", ("extract", "--force"), "whole"),
    Case("export", ("export", *CHEST), "extracted"),
    Case("export again", ("export", *CHEST, "--force"), "whole"),
    Case("verify", ("verify", *CHEST), "whole"),
    Case("bench", ("bench", *CHEST, *_SHORT), "exported"),
    Case("bench again", ("bench", *CHEST, *_SHORT), "whole"),
    Case("gate", ("gate", *CHEST, *_SHORT, "--junit", "gate.xml", "--markdown", "gate.md"), "exported", _JUDGED),
    Case("gate again", ("gate", *CHEST, *_SHORT, "--update-baseline", "store", "--because", "next"), "whole", _JUDGED),
    Case("report", ("report",), "exported"),
    Case("report again", ("report", "--force"), "whole"),
    Case("predict", ("predict", *CHEST, "image.png", "--out", "predictions"), "exported"),
    Case("predict again", ("predict", *CHEST, "image.png", "--out", "predictions"), "whole"),
    Case("pack", ("pack", "RUN", "--out", "run.tar"), "exported"),
    Case("pack again", ("pack", "RUN", "--out", "run.tar", "--force"), "whole"),
    Case("inspect", ("inspect", "RUN", "image.png"), "whole"),
    Case("doctor", ("doctor",), "whole"),
    Case("schema", ("schema", "gate"), "whole"),
    Case("help", ("help", "--man", "man"), "whole"),
    Case("profiles", ("profiles", "list"), "whole"),
    Case("clean", ("clean",), "whole"),
    Case("clean everything", ("clean", "--yes"), "whole"),
)  # fmt: skip


class Stage:
    """A directory in which commands run, and its states.

    Args:
        root: An empty directory.
        say: Is told what is being built.
    """

    def __init__(self, root: Path, say: Callable[[str], object] = lambda text: None) -> None:
        self.root, self.work, self._saved, self._say = root, root / "work", root / "states", say
        self._group = root / "group"
        register_tiny(lambda known, name, value: known.update({name: value}))  # type: ignore[arg-type]

    def build(self, without: tuple[str, ...] = ()) -> None:
        """Make the states, unless they are there, and import here what the commands imported.

        Args:
            without: Commands that are left out, with what they make.
        """
        if (self._saved / STATES[-1][0]).is_dir():
            _import_all(json.loads((self.root / "modules").read_text(encoding="utf-8")))
            return
        self.work.mkdir(parents=True)
        for seed, (name, classes) in enumerate(REGIONS.items()):
            write_data(self.work / f"{name}.npz", classes, count=48, seed=seed)
        with np.load(self.work / "chest.npz") as stored:
            Image.fromarray(stored["images"][0]).save(self.work / "image.png")
        (self.work / "decompose.yaml").write_text(SETTINGS, encoding="utf-8")
        for state, lines in STATES:
            for words in (one for one in lines if one[0] not in without):
                self._say(f"{state}: decompose {' '.join(words)}")
                done = attempt(lambda words=words: self._listed(words), under=self.work, limit_s=LIMIT_S)  # type: ignore[misc]
                if done.error or done.code not in (_JUDGED if words[0] == "gate" else (0,)):
                    raise AssertionError(f"decompose {' '.join(words)}: exit {done.code}\n{done.output}{done.error}")
                _import_all(json.loads((self.root / "modules").read_text(encoding="utf-8")))
            shutil.copytree(self.work, self._saved / state)

    def restore(self, state: str) -> Path:
        """Bring the directory into a state and return it."""
        shutil.rmtree(self.work, ignore_errors=True)
        shutil.copytree(self._saved / state, self.work)
        return self.work

    def action(self, words: tuple[str, ...]) -> Callable[[], int]:
        """Return what runs a command in a child: a group of processes of its own, in the directory."""

        def run() -> int:
            os.setpgid(0, 0)
            self._group.write_text(str(os.getpid()), encoding="ascii")
            return self._run(words)

        return run

    def survivors(self) -> bool:
        """Tell whether a process of the last child lives on, and end it."""
        told = self._group.read_text(encoding="ascii")
        if not told:  # killed before it began
            return False
        group = int(told)
        for pause_s in (0, 0.1, 0.4, 1.5):
            with suppress(InterruptedError):
                signal.sigtimedwait([], pause_s)
            if not _alive(group):
                return False
        with suppress(ProcessLookupError):
            os.killpg(group, signal.SIGKILL)
        return True

    def _run(self, words: tuple[str, ...]) -> int:
        os.chdir(self.work)
        remember_graphs(self.root / "graphs")
        return run_command_line([str(self._first_run()) if word == "RUN" else word for word in words])

    def _first_run(self) -> Path:
        """Return the run that the states have; commands make others from it, or replace it."""
        built = [path.name for path in (self._saved / "trained" / "runs").glob("[!.]*")]
        return min(Path("runs").glob("[!.]*"), key=lambda path: (path.name not in built, _created(path)))

    def _listed(self, words: tuple[str, ...]) -> int:
        code = self._run(words)
        (self.root / "modules").write_text(json.dumps(sorted(sys.modules)), encoding="utf-8")
        return code


def _created(run: Path) -> str:
    """Return when a run was made."""
    with suppress(OSError, ValueError):
        return str(json.loads((run / "manifest.json").read_text(encoding="utf-8"))["created"])
    return "~"


@contextmanager
def small_stage(say: Callable[[str], object] = lambda text: None) -> Iterator[Stage]:
    """Build a stage in a temporary directory."""
    with tempfile.TemporaryDirectory(prefix="torture-") as folder:
        stage = Stage(Path(folder).resolve(), say)
        stage.build()
        yield stage


def _alive(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


def _import_all(names: list[str]) -> None:
    for name in names:
        if name not in sys.modules and not name.startswith(("__", "encodings", "tests")):
            with suppress(Exception):  # made while its command ran, or of another process
                importlib.import_module(name)
