"""Files of weights from others, read as plain tensors by name and nothing else.

A file is safetensors, or a torch file read with `weights_only=True`, so that no code in it can run. What a torch file
can hold beside plain tensors (sparse ones, ones without values, one value as many) is refused.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from lorkit.decompose.artifacts import load_tensors
from lorkit.decompose.artifacts.weights import check_weights
from lorkit.decompose.errors import ArtifactError, first_line

_CONTAINERS = ("state_dict", "model_state_dict", "model", "module", "encoder", "backbone", "network", "net", "weights")
_NESTING = 2
_DEEPEST = 20  # dictionaries in each other; one that holds itself has no end

Section = Literal["foundation", "student"]
"""Section of the configuration that names a file."""


def read_tensors(path: Path, section: Section) -> tuple[dict[str, Tensor], str]:
    """Return the tensors of a file by name, and the key of the dictionary that contained them.

    Args:
        path: `.safetensors`, or a torch file.
        section: Section of the configuration that names the file, for errors.

    Raises:
        ArtifactError: It is missing or damaged, cannot be read without running its code, declares more than fits in
            memory, or holds no tensors, or tensors that do not hold all of their values.
    """
    check_weights(path)
    values, container = _read(path, section)
    _check_plain(values, path)
    return values, container


def _read(path: Path, section: Section) -> tuple[dict[str, Tensor], str]:
    """Return the tensors of a file by name, and the key of the dictionary that contained them."""
    if path.suffix == ".safetensors":
        return load_tensors(path), ""
    try:  # boundary
        document = torch.load(path, map_location="cpu", weights_only=True)
    except ArtifactError:
        raise
    except FileNotFoundError:
        raise ArtifactError(
            f"weights file {path} is missing", required="a weights file", fix=f"correct {section}.weights"
        ) from None
    except Exception as error:  # bytes that are no pickle raise whatever their opcodes lead to, such as KeyError
        raise ArtifactError(
            f"{path} cannot be read as tensors alone ({_reason(error)})",
            required="a safetensors or torch file that holds tensors and no code",
            fix="save `model.state_dict()` with torch.save or safetensors on a machine that trusts the file",
        ) from None
    found = _tensors(document, "", _NESTING)
    if found is not None:
        return found
    if spread := dict(_spread(document, "")):
        return spread, ""
    raise ArtifactError(
        f"{path} holds {type(document).__name__} and no dictionary of tensors",
        required="a state dict, at the top or under one of " + ", ".join(_CONTAINERS),
        fix="save `model.state_dict()`",
    )


def _reason(error: Exception) -> str:
    """Return why torch refuses a file, without its advice to run the code in it."""
    found = re.search(r"WeightsUnpickler error: (.*?)(?:\. Please|\n|$)", str(error))
    return found.group(1) if found else first_line(error)


def _tensors(document: Any, container: str, nesting: int) -> tuple[dict[str, Tensor], str] | None:
    """Return the first dictionary of tensors, at the top or under keys that name a network, and its place."""
    if not isinstance(document, dict) or not document:
        return None
    if all(isinstance(value, Tensor) for value in document.values()):
        return {str(key): value for key, value in document.items()}, container
    for name in _CONTAINERS if nesting else ():
        found = _tensors(document.get(name), f"{container}.{name}".removeprefix("."), nesting - 1)
        if found is not None:
            return found
    return None


def _spread(document: Any, prefix: str, depth: int = 0) -> Iterator[tuple[str, Tensor]]:
    """Yield the tensors of nested dictionaries under dotted keys, such as `teacher.backbone.conv1.weight`."""
    if isinstance(document, dict) and depth < _DEEPEST:
        for key, value in document.items():
            yield from _spread(value, f"{prefix}.{key}".removeprefix("."), depth + 1)
    elif isinstance(document, Tensor):
        yield prefix, document


def _check_plain(values: Mapping[str, Tensor], path: Path) -> None:
    """Refuse tensors that do not hold all of their values: sparse, without storage, quantised, or one value as many."""
    for key, value in values.items():
        held = value.layout == torch.strided and not value.is_quantized and not value.is_meta
        if held and value.numel() * value.element_size() <= value.untyped_storage().nbytes():
            continue
        what = str(value.layout).removeprefix("torch.") if value.layout != torch.strided else "repeated"
        what = "without values" if value.is_meta else "quantised" if value.is_quantized else what
        raise ArtifactError(
            f"{path}: '{key}' of shape {shape_text(value)} is {what}",
            required="plain tensors that hold each of their values",
            fix="save them after `.to_dense().contiguous()`, or dequantised",
        )


def shape_text(value: Tensor) -> str:
    """Return a shape for messages, such as `64x3x7x7`."""
    return "x".join(map(str, value.shape)) or "a scalar"
