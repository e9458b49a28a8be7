"""Read, override, resolve and write `decompose.yaml`."""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError

from lorkit.decompose.artifacts import digest_json
from lorkit.decompose.config.base import Section
from lorkit.decompose.config.regions import RegionConfig
from lorkit.decompose.config.schema import Config
from lorkit.decompose.config.student import FROM_TIMM, student_weights_digest
from lorkit.decompose.config.yaml_files import DEEPEST, parse_yaml, read_yaml
from lorkit.decompose.errors import UsageError, first_line

FILE_NAME = "decompose.yaml"
PHANTOM = "phantom:"
_MOST_PROBLEMS = 500
_DATA_KEYS = ("data", "train", "val", "test", "unlabelled")
_VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")

# The built-in default: all five commands end within two minutes on two cores. With batches of 60 every epoch shows
# each of the 2640 images once.
_DEFAULT: dict[str, Any] = {
    "name": "phantom",
    "image": {"size": 32, "channels": 1},
    "regions": {name: {"data": f"{PHANTOM}{name}"} for name in ("chest", "brain", "breast", "knee")},
    "foundation": {"backbone": "resnet34", "epochs": 2},
    "student": {"backbone": "resnet18"},
    "train": {
        "epochs": 2,
        "batch_size": 60,
        "optimizer": "adamw",
        "lr": 0.001,
        "weight_decay": 0.01,
        "warmup_epochs": 0.3,
        "augment": None,
    },
}


def default_config(*, overrides: Sequence[str] = (), method: str | None = None) -> Config:
    """Return the built-in configuration: four phantom regions and LoRKD; no data or weights are needed."""
    return _build(dict(_DEFAULT), Path.cwd(), "the built-in configuration", overrides, method)


def load_config(
    path: Path | str | None, *, overrides: Sequence[str] = (), method: str | None = None, base: Path | None = None
) -> Config:
    """Read a configuration; without a path `./decompose.yaml`, or the built-in one if there is no such file.

    Args:
        path: A YAML file, or a directory with `decompose.yaml`.
        overrides: `a.b=c` settings, applied before validation; values are read as YAML.
        method: Replaces the file's `method`.
        base: Directory for relative paths; that of the file by default, of a pipe the current one.

    Raises:
        UsageError: The file is missing or not YAML, a key is unknown (the nearest known one is named), or a value is
            out of bounds.
    """
    if path is None:
        if not Path(FILE_NAME).exists():
            return default_config(overrides=overrides, method=method)
        path = Path(FILE_NAME)
    path = Path(path)
    if path.is_dir():
        path = path / FILE_NAME
    of_shell = path.is_fifo()  # `<(...)` has no directory of its own
    document = read_yaml(path)
    base = base or (Path.cwd() if of_shell else path.resolve().parent)
    return _build(document, base, str(path), overrides, method)


def with_overrides(config: Config, overrides: Sequence[str] = (), *, method: str | None = None) -> Config:
    """Return a resolved configuration with `a.b=c` settings applied, and optionally another method.

    Raises:
        UsageError: As for `load_config`.
    """
    return _build(config.model_dump(mode="json"), config.base, "the variant", overrides, method)


def config_of(raw: dict[str, Any], base: Path, where: str) -> Config:
    """Return a configuration from plain data; `where` names it in messages.

    Raises:
        UsageError: As for `load_config`.
    """
    return _build(raw, base, where, (), None)


def to_yaml(config: Config) -> str:
    """Return YAML that `load_config` reads back to an equal configuration, with absolute data paths."""
    return yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False, allow_unicode=True)


def config_digest(config: Config) -> str:
    """Return a digest of the settings without the paths of the data, whose content has its own digests.

    The student's published weights count by their content. A cache of fp32 features changes only the time; rounded
    features change the training.
    """
    settings = config.model_dump(mode="json")
    cache = settings.pop("cache")
    if cache["enabled"] and cache["dtype"] != "fp32":
        settings["cache"] = {"dtype": cache["dtype"]}
    for region in settings["regions"].values():
        for key in _DATA_KEYS:
            region.pop(key)
    if not settings["teachers"]:
        del settings["teachers"]  # as before there were any
    settings["student"]["weights"] = student_weights_digest(config.student)
    return digest_json(settings)


def resolve_path(text: str, base: Path) -> str:
    """Expand `${VARIABLES}` and make a path absolute from `base`, except `phantom:` names.

    Raises:
        UsageError: A variable is not set.
    """

    def expand(match: re.Match[str]) -> str:
        value = os.environ.get(match[1])
        if value is None:
            raise UsageError(
                f"environment variable {match[1]} in '{text}' is not set",
                required="a value for it",
                fix=f"export {match[1]}=DIRECTORY",
            )
        return value

    if text.startswith(PHANTOM):
        return text
    try:
        return os.path.normpath(base / Path(_VARIABLE.sub(expand, text)).expanduser())
    except RuntimeError:  # of expanduser
        raise UsageError(f"no home directory for '{text}'", required="a known user after ~", fix="correct it") from None


def _build(raw: dict[str, Any], base: Path, where: str, overrides: Sequence[str], method: str | None) -> Config:
    for override in overrides:
        raw = _override(raw, override)
    if method is not None:
        raw = {**raw, "method": method}
    try:
        config = Config.model_validate(raw)
    except ValidationError as error:
        raise _explain(error, where) from None
    except (RecursionError, OverflowError) as error:  # of a value that no check expects
        raise UsageError(f"{where}: {first_line(error)}", required="usable settings", fix="correct them") from None
    config = config.model_copy(update=_resolved_paths(config, base))
    config._base = base
    return config


def _resolved_paths(config: Config, base: Path) -> dict[str, Any]:
    regions: dict[str, RegionConfig] = {}
    for name, region in config.regions.items():
        paths = {key: getattr(region, key) for key in _DATA_KEYS if getattr(region, key) is not None}
        resolved = {key: tuple(resolve_path(text, base) for text in texts) for key, texts in paths.items()}
        regions[name] = region.model_copy(update=resolved)
    update: dict[str, Any] = {"regions": regions}
    for name in ("foundation", "student"):
        section = getattr(config, name)
        if section.weights not in (None, FROM_TIMM):
            update[name] = section.model_copy(update={"weights": resolve_path(section.weights, base)})
    if config.teachers:
        update["teachers"] = tuple(
            one
            if one.weights in (None, FROM_TIMM)
            else one.model_copy(update={"weights": resolve_path(one.weights, base)})
            for one in config.teachers
        )
    if config.cache.directory is not None:
        directory = resolve_path(config.cache.directory, base)
        update["cache"] = config.cache.model_copy(update={"directory": directory})
    return update


def _override(raw: dict[str, Any], override: str) -> dict[str, Any]:
    key, separator, text = override.partition("=")
    if not separator or not key.strip():
        raise UsageError(
            f"--set {override}", required="KEY=VALUE with dots between sections", fix="for example train.epochs=5"
        )
    path = key.strip().split(".")
    if len(path) > DEEPEST:
        raise UsageError(f"--set {key[:80]}...", required=f"at most {DEEPEST} sections", fix="shorten the key")
    return _with(raw, path, parse_yaml(text, f"--set {key}"), override)


def _with(raw: Any, path: list[str], value: Any, override: str) -> dict[str, Any]:
    if not isinstance(raw, dict):
        raise UsageError(
            f"--set {override}: '{path[0]}' is inside a value", required="a section", fix="shorten the key"
        )
    head, *rest = path
    return {**raw, head: _with(raw.get(head) or {}, rest, value, override) if rest else value}


def _explain(error: ValidationError, where: str) -> UsageError:
    """Describe the first problem in one line; unknown keys come first, since a typo often explains a missing key."""
    problems = sorted(
        _of_the_nearest(error.errors()[:_MOST_PROBLEMS]), key=lambda problem: problem["type"] != "extra_forbidden"
    )
    problem = problems[0]
    key = _key(problem["loc"])
    others = {other for one in problems if not key.startswith(other := _key(one["loc"]))}
    more = f" (and {len(others)} more)" if others else ""
    if problem["type"] == "extra_forbidden":
        known = _known_keys(problem["loc"][:-1])
        near = difflib.get_close_matches(str(problem["loc"][-1]), known, n=1)
        fix = f"did you mean '{near[0]}'?" if near else "remove it"
        return UsageError(f"unknown key '{key}' in {where}{more}", required=f"one of {', '.join(known)}", fix=fix)
    if problem["type"] == "missing":
        return UsageError(f"missing key '{key}' in {where}{more}", required=f"'{key}'", fix="add it")
    message = problem["msg"].removeprefix("Value error, ").removeprefix("Input should be ")
    if problem["type"] == "model_type":
        message = f"a section with some of {', '.join(_known_keys(problem['loc']))}"
    given = (
        f"{key} = {problem['input']!r:.120}" if key and not isinstance(problem["input"], dict) else key or "settings"
    )
    return UsageError(f"{given} in {where}{more}", required=message, fix="correct it")


def _of_the_nearest(problems: list[Any]) -> list[Any]:
    """Leave out the alternatives of a union that a value does not try to be, where a problem lies inside another."""
    keys = {_key(one["loc"]) for one in problems}
    inside = {key for key in keys if any(other.startswith(f"{key}.") for other in keys)}
    return [one for one in problems if not (_key(one["loc"]) in inside and _is_alternative(one["loc"][-1]))]


def _key(location: tuple[int | str, ...]) -> str:
    """Return the key of a place, without the alternatives of a union, such as `RegionAugment` or `literal[False]`."""
    *inner, last = location or ("",)
    kept = [part for part in inner if not _is_alternative(part)]
    return ".".join(map(str, kept if _is_alternative(last) and kept else [*kept, last]))


def _is_alternative(part: int | str) -> bool:
    """Return whether a part of a place is the name that pydantic gives to an alternative of a union."""
    sections = {section.__name__ for section in Section.__subclasses__()}
    return isinstance(part, str) and (part in sections or "[" in part or part.startswith("constrained-"))


def _known_keys(location: tuple[int | str, ...]) -> list[str]:
    model: Any = Config
    for part in location:
        if isinstance(model, type) and issubclass(model, BaseModel) and part in model.model_fields:
            model = model.model_fields[str(part)].annotation
        model = next((inner for inner in _models_within(model)), model)
    return list(model.model_fields) if isinstance(model, type) and issubclass(model, BaseModel) else []


def _models_within(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for part in getattr(annotation, "__args__", ()) for model in _models_within(part)]
