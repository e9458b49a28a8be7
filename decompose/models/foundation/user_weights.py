"""Load a user's weights into a backbone strictly, with a key map and a report of the matches.

A file is safetensors, or a torch file read with `weights_only=True`, so that no code in it can run.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from lorkit.decompose.errors import ArtifactError, plural
from lorkit.decompose.models.backbones.registry import Backbone
from lorkit.decompose.models.foundation.weight_files import Section, read_tensors, shape_text

KeyMap = Mapping[str, str | None]
"""Prefix in the file to prefix in the backbone; None drops the keys."""


@dataclass(frozen=True, kw_only=True)
class MatchReport:
    """Use of each key of a weights file.

    Attributes:
        matched: Backbone keys that were loaded.
        missing: Backbone keys without a value; the load fails unless empty.
        unexpected: Mapped file keys that the backbone does not have; the load fails unless empty.
        dropped_heads: File keys of the classifier, which a headless backbone does not have.
        dropped: File keys that the key map drops.
        defaulted: `num_batches_tracked` counters that files from before torch 0.4.1 lack; they start at zero.
        container: Key of the dictionary inside the file that contained the weights, or "".
    """

    matched: tuple[str, ...]
    missing: tuple[str, ...] = ()
    unexpected: tuple[str, ...] = ()
    dropped_heads: tuple[str, ...] = ()
    dropped: tuple[str, ...] = ()
    defaulted: tuple[str, ...] = ()
    container: str = ""

    @property
    def summary(self) -> str:
        """How much of the backbone was loaded, and what of the file was left out, in one line."""
        counts = {
            "dropped by the key map": self.dropped,
            "of its classifier left out": self.dropped_heads,
            "counters set to zero": self.defaulted,
        }
        rest = "".join(f", {len(keys)} {text}" for text, keys in counts.items() if keys)
        return f"{len(self.matched)} of {len(self.matched)} backbone tensors matched{rest}"


def load_user_weights(
    backbone: nn.Module, path: Path, key_map: KeyMap | None = None, *, section: Section = "foundation"
) -> MatchReport:
    """Fill a headless backbone from a weights file, in place, all of it or an error.

    Args:
        backbone: From `build_backbone`.
        path: `.safetensors`, or a torch file of tensors (`.pth`, `.pt`, `.bin`).
        key_map: File prefix to backbone prefix, the longest that fits; "" strips the prefix, None drops its keys.
        section: Section of the configuration that names the file, for errors.

    Raises:
        ArtifactError: The file cannot be read without running its code, or a key is missing, unexpected or of
            another shape, or holds NaN or infinity; the message names the first of them.
    """
    values, container = read_tensors(Path(path), section)
    own = backbone.state_dict()
    head = f"{cast(Backbone, backbone).head_name}."
    suggestion = _suggestion(values, own, head, section)
    mapped, dropped = _map(values, key_map or {}, Path(path), suggestion, section)
    heads = tuple(sorted(key for key in mapped if key.startswith(head) and key not in own))
    mapped = {key: value for key, value in mapped.items() if key not in heads}
    absent = sorted(own.keys() - mapped.keys())
    report = MatchReport(
        matched=tuple(sorted(own.keys() & mapped.keys())),
        missing=tuple(key for key in absent if not key.endswith(".num_batches_tracked")),
        unexpected=tuple(sorted(mapped.keys() - own.keys())),
        dropped_heads=heads,
        dropped=dropped,
        defaulted=tuple(key for key in absent if key.endswith(".num_batches_tracked")),
        container=container,
    )
    _check_keys(report, own, suggestion, Path(path))
    _check_tensors(report, own, mapped, Path(path), section)
    _check_finite({key: value for key, value in values.items() if key not in dropped}, Path(path), section)
    backbone.load_state_dict({**own, **mapped}, strict=True)
    return report


def _map(
    values: Mapping[str, Tensor], key_map: KeyMap, path: Path, suggestion: str, section: Section
) -> tuple[dict[str, Tensor], tuple[str, ...]]:
    """Return the values under the backbone's keys, and the keys dropped."""
    mapped: dict[str, Tensor] = {}
    dropped: list[str] = []
    used: set[str] = set()
    for key, value in values.items():
        prefix = max((prefix for prefix in key_map if key.startswith(prefix)), key=len, default=None)
        target = key
        if prefix is not None:
            used.add(prefix)
            new = key_map[prefix]
            if new is None:
                dropped.append(key)
                continue
            target = new + key.removeprefix(prefix)
        if target in mapped:
            raise ArtifactError(f"two keys of {path} map to '{target}'", required="one key each", fix=suggestion)
        mapped[target] = value
    idle = sorted(set(key_map) - used)
    if idle:
        raise ArtifactError(
            f"no key of {path} starts with '{idle[0]}' of {section}.key_map",
            required=f"prefixes of its keys, such as '{next(iter(values), '')}'",
            fix=suggestion,
        )
    return mapped, tuple(sorted(dropped))


def _check_keys(report: MatchReport, own: Mapping[str, Tensor], suggestion: str, path: Path) -> None:
    if report.missing or report.unexpected:
        first = [*report.missing[:2], *(f"+{key}" for key in report.unexpected[:2])]
        raise ArtifactError(
            f"{path} fits the backbone in {len(report.matched)} of {len(own)} keys: {len(report.missing)} missing, "
            f"{len(report.unexpected)} unexpected (+), such as {', '.join(first)}",
            required="every key of the backbone, and no other",
            fix=suggestion,
        )


def _check_tensors(
    report: MatchReport, own: Mapping[str, Tensor], mapped: Mapping[str, Tensor], path: Path, section: Section
) -> None:
    image = "image" if section == "student" else "foundation.image"
    for key in report.matched:
        if own[key].shape != mapped[key].shape:
            given, wanted = mapped[key].shape, own[key].shape
            if _differ_in_channels(given, wanted):
                raise ArtifactError(
                    f"{path}: '{key}' is for images of {plural(given[1], 'channel')}, {image}.channels is {wanted[1]}",
                    required="weights of as many channels as the images",
                    fix=f"set {image}.channels to {given[1]}: images are converted",
                )
            raise ArtifactError(
                f"{path}: '{key}' is {shape_text(mapped[key])}, the backbone's is {shape_text(own[key])}",
                required="equal shapes",
                fix=f"check {section}.backbone, {image}.size and {image}.channels",
            )
        if own[key].is_floating_point() != mapped[key].is_floating_point():
            raise ArtifactError(
                f"{path}: '{key}' is {mapped[key].dtype}, the backbone's is {own[key].dtype}",
                required="floating-point weights",
                fix="convert the file",
            )


def _check_finite(values: Mapping[str, Tensor], path: Path, section: Section) -> None:
    """Refuse values that are not finite, also those of a classifier that is left out: such a file is damaged."""
    for key, value in values.items():
        if value.is_floating_point() and not value.isfinite().all():
            raise ArtifactError(
                f"{path}: '{key}' holds NaN or infinity",
                required="finite weights",
                fix=f"use another checkpoint, or drop a tensor that is not needed by null in {section}.key_map",
            )


def _suggestion(values: Mapping[str, Tensor], own: Mapping[str, Tensor], head: str, section: Section) -> str:
    """Return what to do: a key map that works, found from the file's own keys, where there is one."""
    key_map = suggest_key_map(values, own, head)
    if key_map is None:
        what = '("" strips a prefix, null drops its keys), or change the backbone'
        return f"map prefixes with {section}.key_map {what}"
    return f"set {section}.key_map: {json.dumps(key_map)}" if key_map else f"remove {section}.key_map"


def suggest_key_map(values: Mapping[str, Any], own: Mapping[str, Any], head: str) -> dict[str, str | None] | None:
    """Return a key map under which a file fits a backbone, or None: one prefix is stripped, what is left is dropped.

    Args:
        values: Keys of the file.
        own: Keys of the backbone.
        head: Prefix of the classifier's keys, which a file may have and a headless backbone has not.
    """
    needed = {key for key in own if not key.endswith(".num_batches_tracked")}
    prefixes = {key[: at + 1] for key in values for at, letter in enumerate(key) if letter == "."} | {""}
    for prefix in sorted(prefixes, key=lambda text: (len(text), text)):
        stripped = {key.removeprefix(prefix) for key in values if key.startswith(prefix)}
        if not needed <= stripped:
            continue
        extra = [key for key in values if not _has_place(key, prefix, own, head)]
        key_map: dict[str, str | None] = {prefix: ""} if prefix else {}
        return key_map | {drop: None for drop in _prefixes_of(extra, [key for key in values if key not in extra])}
    return None


def _has_place(key: str, prefix: str, own: Mapping[str, Any], head: str) -> bool:
    name = key.removeprefix(prefix)
    return key.startswith(prefix) and (name in own or name.startswith(head))


def _prefixes_of(keys: list[str], others: list[str]) -> list[str]:
    """Return the shortest prefixes that end in a dot, or whole keys, which hold all of `keys` and none of `others`."""
    found: list[str] = []
    for key in keys:
        if any(key.startswith(prefix) for prefix in found):
            continue
        cuts = [key[: at + 1] for at, letter in enumerate(key) if letter == "."]
        found.append(next((cut for cut in cuts if not any(other.startswith(cut) for other in others)), key))
    return found


def _differ_in_channels(given: torch.Size, wanted: torch.Size) -> bool:
    """Return whether two kernels (O, C, *K) differ in nothing but the channels of an image, C of 1 or 3."""
    kernels = len(given) == len(wanted) and len(given) > 3
    return kernels and (given[0], given[2:]) == (wanted[0], wanted[2:]) and {given[1], wanted[1]} == {1, 3}
