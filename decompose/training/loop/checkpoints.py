"""Checkpoints of a training phase: one per epoch, atomic, digest-checked, read without unpickling code.

`state.json` names the newest complete checkpoint and its digest; it is replaced atomically after the checkpoint is on
disk, so a kill at any time leaves the previous epoch's or the new one.
"""

from __future__ import annotations

import io
import pickle
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, NotRequired, TypedDict, cast

import torch
from torch import Tensor

from lorkit.decompose.artifacts import SCHEMA_VERSION, digest_bytes, read_json, write_bytes, write_json
from lorkit.decompose.errors import ArtifactError
from lorkit.decompose.events import EpochRow

_STATE = "state.json"


class RandomState(TypedDict):
    """The states of torch's generators; `cuda` has one per device."""

    cpu: Tensor
    cuda: list[Tensor]


class StepState(TypedDict):
    """State of the optimiser's steps; `average` and `averaged` only with averaged weights."""

    module: dict[str, Tensor]
    optimizer: Any
    scaler: Any
    backward: dict[str, list[float]]
    average: NotRequired[dict[str, Tensor]]
    averaged: NotRequired[int]


class TrainingState(StepState):
    """Everything that a resume needs besides the settings."""

    random: RandomState


@dataclass
class Progress:
    """Progress of a phase: epochs done, the best of them, and one row of metrics per epoch."""

    epochs_done: int = 0
    best_epoch: int = -1
    best: float = -1.0  # below every accuracy, and still JSON
    history: list[EpochRow] = field(default_factory=list)


class Checkpoints:
    """The checkpoint directory of one phase."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    @property
    def exists(self) -> bool:
        """Whether at least one epoch has been saved."""
        return (self.directory / _STATE).is_file()

    def save(self, state: TrainingState, progress: Progress) -> Path:
        """Write an epoch's state, and delete all others but the best.

        Args:
            state: Tensors and plain data; "module" is the network, "average" its averaged weights, if any.
            progress: Progress of the phase with this epoch.
        """
        self.directory.mkdir(parents=True, exist_ok=True)
        buffer = io.BytesIO()
        torch.save(state, buffer)
        data = buffer.getvalue()
        path = self.directory / _name(progress.epochs_done)
        write_bytes(path, data)
        best = _name(progress.best_epoch + 1)
        known = self._digests() if self.exists else {}
        digests = {best: known.get(best, ""), path.name: digest_bytes(data)}
        document = {
            "schema_version": SCHEMA_VERSION,
            "kind": "checkpoint",
            "file": path.name,
            "best_file": best,
            "sha256": digests,
            "progress": asdict(progress),
        }
        write_json(self.directory / _STATE, document)
        for old in self.directory.glob("epoch-*.pt"):
            if old.name not in digests:
                old.unlink()
        for torn in [*self.directory.glob(".epoch-*"), *self.directory.glob(f".{_STATE}.*")]:
            torn.unlink()  # left by a killed process; the training's lock is held
        return path

    def load(self) -> tuple[TrainingState, Progress]:
        """Return the newest state and the progress.

        Raises:
            ArtifactError: The checkpoint is missing, damaged, or has more than tensors and plain data.
        """
        document = read_json(self.directory / _STATE, kind="checkpoint")
        state = self._read(str(document.get("file")))
        try:
            return state, Progress(**document["progress"])
        except (KeyError, TypeError) as error:
            raise _damaged(self.directory / _STATE, f"cannot be read ({type(error).__name__})") from None

    def load_best(self) -> dict[str, Tensor]:
        """Return the network of the best epoch, averaged if that was validated; raise ArtifactError if damaged."""
        state = self._read(str(read_json(self.directory / _STATE, kind="checkpoint").get("best_file")))
        return state.get("average", state["module"])

    def _digests(self) -> dict[str, str]:
        digests = read_json(self.directory / _STATE, kind="checkpoint").get("sha256")
        return digests if isinstance(digests, dict) else {}

    def _read(self, name: str) -> TrainingState:
        path = self.directory / Path(name).name
        try:
            data = path.read_bytes()
        except FileNotFoundError:
            raise _damaged(path, "is missing") from None
        if digest_bytes(data) != self._digests().get(path.name):
            raise _damaged(path, "has changed")
        try:
            return cast(TrainingState, torch.load(io.BytesIO(data), map_location="cpu", weights_only=True))
        except (pickle.UnpicklingError, RuntimeError) as error:
            raise _damaged(path, f"cannot be read ({type(error).__name__})") from None


def _name(epochs: int) -> str:
    return f"epoch-{epochs:04d}.pt"


def _damaged(path: Path, problem: str) -> ArtifactError:
    # not --force: `compare` has none, and other phases need not be trained again
    fix = f"remove {path.parent} and repeat the command: that phase is then trained again"
    return ArtifactError(f"checkpoint {path} {problem}", required="an intact checkpoint of this training", fix=fix)
