"""A path that is not there is a wrong option, exit code 2, in every verb."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from lorkit.decompose.data.phantoms import reader as phantom

COMMANDS = (
    "init --from-data {}",
    "data {}",
    "pretrain {}",
    "train {}",
    "train --set regions.chest.data={} --dry-run",
    "train --set foundation.weights={} --dry-run",
    "train --set student.weights={} --dry-run",
    "train --from {} --add-region wrist",
    "train --method finetune --from {}",
    "compare {}",
    "evaluate {}",
    "evaluate --data {}",
    "evaluate --outside {}",
    "extract --run {}",
    "export {}",
    "export --run {}",
    "verify {}",
    "verify --data {}",
    "bench {}",
    "bench --against {}",
    "bench --image {}",
    "gate --baseline {}",
    "gate --candidate {}",
    "gate --data {}",
    "report --run {}",
    "report --against {}",
    "predict {} image.png",
    "predict --region chest {}",
    "predict --stream {} --store store.db",
    "inspect {}",
    "pack {}",
    "profiles show {}.yaml",
)


@pytest.mark.parametrize("command", COMMANDS)
def test_a_missing_path_is_a_wrong_option(
    decompose: Callable[..., Any], command: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(phantom, "PATIENTS", {"train": 12, "val": 12, "test": 12})  # `train` draws the data first
    outcome = decompose(*command.format("no/where").split())
    assert outcome.code == 2, outcome.stderr
    assert "no/where" in outcome.stderr or "no finished run" in outcome.stderr


@pytest.mark.parametrize("verb", ["bench", "gate"])
@pytest.mark.parametrize("seed", [-1, 2**31])
def test_seeds_have_bounds(decompose: Callable[..., Any], verb: str, seed: int) -> None:
    outcome = decompose(verb, "--seed", seed)
    assert outcome.code == 2
    assert "--seed" in outcome.stderr
