"""`train --from`: choose among the three ways to make a run from an artifact, and refuse other options."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Unpack

from lorkit.decompose.config import load_config
from lorkit.decompose.errors import UsageError
from lorkit.decompose.lifecycle.adding import add_region as add
from lorkit.decompose.lifecycle.finetuning import finetune_expert
from lorkit.decompose.lifecycle.removing import remove_region as remove
from lorkit.decompose.regions import check_region_name
from lorkit.decompose.runs import RUNS, open_run
from lorkit.decompose.training.new_run import RunOptions, TrainResult


def train_from(
    source: Path | str | None,
    config: Path | str | None = None,
    *,
    overrides: Sequence[str] = (),
    method: str | None = None,
    add_region: str | None = None,
    remove_region: str | None = None,
    **options: Unpack[RunOptions],
) -> TrainResult:
    """Make a new run from a finished one, or from an expert.

    Args:
        source: A run (id or directory), or with method `finetune` the directory of an expert.
        config: A configuration; to add a region, the run's own by default.
        overrides: `a.b=c` settings. Without `config`, relative paths in them start at the current directory.
        method: As for `load_config`.
        add_region: Name of a region to add to the run.
        remove_region: Name of a region to remove from the run.
        options: As for `train`.

    Raises:
        UsageError: The options contradict each other, or as for `add_region`, `remove_region`, `finetune_expert`.
    """
    out = Path(options.get("out", RUNS))
    if source is None:
        given = "--add-region" if add_region is not None else "--remove-region"
        raise UsageError(f"{given} without --from", required="a finished run", fix="name it with --from RUN")
    if add_region is not None and remove_region is not None:
        raise UsageError(
            "--add-region and --remove-region together",
            required="one change at a time",
            fix="make two runs, one after the other",
        )
    if remove_region is not None:
        _refuse_settings(
            config=config,
            overrides=overrides,
            method=method,
            resume=options.get("resume"),
            tensorboard=options.get("tensorboard"),
        )
        return remove(open_run(source, out), remove_region, **options)
    if add_region is not None:
        name = check_region_name(add_region)
        run = open_run(source, out)
        base = Path.cwd() if config is None else None
        path = run.path / "config.yaml" if config is None else config
        stated = load_config(path, overrides=overrides, method=method, base=base)
        return add(run, name, stated, **options)
    stated = load_config(config, overrides=overrides, method=method)
    if stated.method != "finetune":
        raise UsageError(
            f"--from {source} with method {stated.method}",
            required="--add-region NAME, --remove-region NAME or --method finetune",
            fix="name the change",
        )
    return finetune_expert(stated, source, **options)


def _refuse_settings(**options: object) -> None:
    """Refuse settings that have no effect: a removal does not train."""
    names = {"config": "a configuration", "overrides": "--set", "method": "--method", "resume": "--resume"}
    names["tensorboard"] = "--tensorboard"
    for key, value in options.items():
        if value:
            raise UsageError(
                f"{names[key]} with --remove-region",
                required="nothing but --from, --out, --force and --dry-run: the other regions stay as they are",
                fix="leave it out",
            )
