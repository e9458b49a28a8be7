"""Checkpoints of a training phase: one a finished epoch, atomic, digest-checked, read without unpickling code.

`state.json` names the newest complete checkpoint and its digest and is replaced in one step after the file itself
is on disk, so a kill at any moment leaves the previous epoch's or the new one.
"""

from __future__ import annotations

import io
import pickle
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lorkit.decompose.artifacts import (
    SCHEMA_VERSION,
    digest_bytes,
    digest_file,
    load_tensors,
    read_json,
    save_tensors,
    write_bytes,
    write_json,
)
from lorkit.decompose.errors import ArtifactError

_STATE = "state.json"
_FIX = "start anew with --force"


@dataclass
class Progress:
    """How far a phase is: epochs done, the best of them, and one row of metrics an epoch."""

    epochs_done: int = 0
    best_epoch: int = -1
    best: float = -1.0  # below every accuracy, and still JSON
    history: list[dict[str, Any]] = field(default_factory=list)


class Checkpoints:
    """The checkpoint directory of one phase."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    @property
    def exists(self) -> bool:
        """Whether at least one epoch has been saved."""
        return (self.directory / _STATE).is_file()

    def save(self, state: dict[str, Any], best: dict[str, Tensor] | None, progress: Progress) -> Path:
        """Write an epoch's state, and the network as the best so far where `best` is given."""
        self.directory.mkdir(parents=True, exist_ok=True)
        buffer = io.BytesIO()
        torch.save(state, buffer)
        data = buffer.getvalue()
        path = self.directory / f"epoch-{progress.epochs_done:04d}.pt"
        write_bytes(path, data)
        best_name = f"best-{progress.best_epoch + 1:04d}.safetensors"
        if best is not None:
            save_tensors(self.directory / best_name, best)
        document = {
            "schema_version": SCHEMA_VERSION,
            "kind": "checkpoint",
            "file": path.name,
            "sha256": digest_bytes(data),
            "best_file": best_name,
            "best_sha256": digest_file(self.directory / best_name),
            "progress": asdict(progress),
        }
        write_json(self.directory / _STATE, document)
        for old in [*self.directory.glob("epoch-*.pt"), *self.directory.glob("best-*.safetensors")]:
            if old.name not in (path.name, best_name):
                old.unlink()
        return path

    def load(self) -> tuple[dict[str, Any], Progress]:
        """Return the newest state and the progress.

        Raises:
            ArtifactError: The checkpoint is missing, damaged, or holds more than tensors and plain data.
        """
        document = read_json(self.directory / _STATE, kind="checkpoint")
        path = self.directory / Path(str(document.get("file"))).name
        try:
            data = path.read_bytes()
        except FileNotFoundError:
            raise ArtifactError(f"checkpoint {path} is missing", required="the newest checkpoint", fix=_FIX) from None
        if digest_bytes(data) != document.get("sha256"):
            raise ArtifactError(f"checkpoint {path} has changed", required="an intact checkpoint", fix=_FIX)
        try:
            state = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
            return state, Progress(**document["progress"])
        except (pickle.UnpicklingError, RuntimeError, KeyError, TypeError) as error:
            raise ArtifactError(
                f"checkpoint {path} cannot be read ({type(error).__name__})", required="an intact checkpoint", fix=_FIX
            ) from None

    def load_best(self) -> dict[str, Tensor]:
        """Return the network of the best epoch.

        Raises:
            ArtifactError: It is missing or damaged.
        """
        document = read_json(self.directory / _STATE, kind="checkpoint")
        path = self.directory / Path(str(document.get("best_file"))).name
        tensors = load_tensors(path)
        if digest_file(path) != document.get("best_sha256"):
            raise ArtifactError(f"checkpoint {path} has changed", required="an intact checkpoint", fix=_FIX)
        return tensors
