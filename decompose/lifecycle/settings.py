"""Settings of a run with one more region: those of the run, and those of a configuration for the new region."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from pydantic import BaseModel

from lorkit.decompose.config import Config, ImageConfig
from lorkit.decompose.errors import UsageError
from lorkit.decompose.runs import Run

# Settings of the shared weights and the shape of the experts, which must not change.
_LOCKED = {
    "image": ("size", "channels", "mean", "std"),
    "student": ("backbone", "stem"),
    "foundation": ("backbone", "weights", "finetune"),
    "lorkd": (
        "rank", "alpha", "layout", "norm", "depthwise", "transposed", "decoder_rank_factor", "select_min_channels",
        "shared_norms",
    ),
}  # fmt: skip
# Settings of the training of the new region.
_FREE_LORKD = ("feature_kd", "logit_kd", "kd_by_region", "factor_lr_ratio", "factor_weight_decay")
_FREE = ("name", "seed", "privacy")


def config_with_region(run: Run, stated: Config, region: str) -> Config:
    """Return the settings of `run` with one more region.

    From `stated` come the new region's section and what it states about its training: `train`, `split`, `seed`,
    `unlabelled`, distillation, its rank (`lorkd.ranks`). All else is from the run; other regions of `stated` are
    ignored.

    Args:
        run: The run to extend.
        stated: A configuration with the new region.
        region: Its name.

    Raises:
        UsageError: `stated` lacks the region, or differs from the run in what regions share (image, student,
            foundation, shape of the experts).
    """
    if region not in stated.regions:
        raise UsageError(
            f"no data of region '{region}'",
            required=f"regions.{region} in the configuration",
            fix=f"add it, or --set regions.{region}.data=PATH",
        )
    if "method" in stated.model_fields_set and stated.method != run.config.method:
        raise UsageError(
            f"method {stated.method} for a region of a {run.config.method} run",
            required=f"method {run.config.method}",
            fix="leave method out",
        )
    origin = run.config
    for section, keys in _LOCKED.items():
        _refuse_other(getattr(origin, section), getattr(stated, section), section, keys, region)
    ranks = _ranks(origin, stated, region)
    lorkd = {key: value for key, value in _stated(stated.lorkd).items() if key in _FREE_LORKD}
    update: dict[str, Any] = {key: getattr(stated, key) for key in _FREE if key in stated.model_fields_set}
    update |= {
        "regions": {**origin.regions, region: stated.regions[region]},
        "train": origin.train.model_copy(update=_stated(stated.train)),
        "split": origin.split.model_copy(update=_stated(stated.split)),
        "unlabelled": origin.unlabelled.model_copy(update=_stated(stated.unlabelled)),
        "lorkd": origin.lorkd.model_copy(update={**lorkd, "ranks": ranks}),
    }
    trained = origin.foundation.weights is None or origin.foundation.finetune is not None
    if trained and origin.foundation.regions == "all":
        # "all" meant the earlier regions: the foundation was not trained on the new one
        known = tuple(origin.regions)
        update["foundation"] = origin.foundation.model_copy(update={"regions": known})
    return origin.model_copy(update=update)


def only_region(config: Config, region: str) -> Config:
    """Return the settings with one region and nothing of the others."""
    return config.model_copy(update={"regions": {region: config.regions[region]}, **_with_ranks(config, {region})})


def without_region(config: Config, region: str) -> Config:
    """Return the settings without a region: its section, its rank, its name among the foundation's regions."""
    left = {name: section for name, section in config.regions.items() if name != region}
    update: dict[str, Any] = {"regions": left, **_with_ranks(config, set(left))}
    if config.foundation.regions != "all":
        known = tuple(name for name in config.foundation.regions if name != region)
        update["foundation"] = config.foundation.model_copy(update={"regions": known})
    return config.model_copy(update=update)


def _with_ranks(config: Config, regions: Collection[str]) -> dict[str, Any]:
    """Return the sections of experts and reprogrammers with the ranks and widths of some regions only."""
    sections = {"lorkd": config.lorkd, "mola": config.mola}
    found: dict[str, Any] = {
        name: section.model_copy(
            update={"ranks": {region: rank for region, rank in section.ranks.items() if region in regions}}
        )
        for name, section in sections.items()
    }
    if isinstance(config.rd.hidden, dict):
        widths = {region: width for region, width in config.rd.hidden.items() if region in regions}
        found["rd"] = config.rd.model_copy(update={"hidden": widths})
    return found


def is_stated(section: BaseModel, key: str) -> bool:
    """Return whether a value was stated, or is a normalisation filled in by default."""
    if isinstance(section, ImageConfig) and key in ("mean", "std"):
        return bool(getattr(section, key) != getattr(ImageConfig(channels=section.channels), key))
    return key in section.model_fields_set


def _ranks(origin: Config, stated: Config, region: str) -> dict[str, int]:
    for name, rank in stated.lorkd.ranks.items():
        if name in origin.regions and rank != origin.lorkd.ranks.get(name, origin.lorkd.rank):
            raise _locked(f"lorkd.ranks.{name}", rank, origin.lorkd.ranks.get(name, origin.lorkd.rank), region)
    own = {name: rank for name, rank in stated.lorkd.ranks.items() if name == region}
    return {**origin.lorkd.ranks, **own}


def _refuse_other(origin: BaseModel, stated: BaseModel, section: str, keys: tuple[str, ...], region: str) -> None:
    for key, value in _stated(stated).items():
        if key in keys and value != getattr(origin, key):
            raise _locked(f"{section}.{key}", value, getattr(origin, key), region)


def _locked(key: str, given: object, wanted: object, region: str) -> UsageError:
    own = f"; for another rank set lorkd.ranks.{region}" if key == "lorkd.rank" else ""
    return UsageError(
        f"{key} = {given} for region '{region}', where the run has {wanted}",
        required="the run's own: its regions share it",
        fix=f"leave {key} out{own}",
    )


def _stated(section: BaseModel) -> dict[str, Any]:
    return {key: getattr(section, key) for key in section.model_fields_set if is_stated(section, key)}
