"""Weights of timm's networks in the user's cache of the Hugging Face hub: found there, and never downloaded."""

from __future__ import annotations

from pathlib import Path

from lorkit.decompose.errors import UsageError
from lorkit.decompose.models.backbones.timm_models import TIMM, known_timm

FILES = ("model.safetensors", "pytorch_model.bin")
"""Names of a network's file on the hub, the preferred one first."""


def cached_timm_weights(backbone: str, key: str) -> Path:
    """Return the file of the weights that timm publishes for a backbone, from the user's cache.

    Args:
        backbone: `timm:<name>`; a tag in the name chooses among several weights, as in timm.
        key: The key of the configuration that asks for it.

    Raises:
        UsageError: The backbone is not of timm, timm names no weights of it, or the cache does not have them.
        MissingRuntimeError: timm is not installed.
    """
    if not backbone.startswith(TIMM):
        raise UsageError(
            f"{key}: timm for backbone {backbone}",
            required=f"a backbone of timm, such as {TIMM}resnet18",
            fix="name a file of weights, or another backbone",
        )
    name = backbone.removeprefix(TIMM)
    repository = known_timm(name).models.get_pretrained_cfg(name).hf_hub_id
    if not repository:
        raise UsageError(
            f"{key}: timm for backbone {backbone}, of which timm names no weights on the hub",
            required="a network with published weights",
            fix="name a file of weights, or another backbone",
        )
    from huggingface_hub import try_to_load_from_cache  # timm needs it

    for file in FILES:
        found = try_to_load_from_cache(repository, file)  # looks at files only
        if isinstance(found, str):
            return Path(found)
    raise UsageError(
        f"{key}: timm, but the cache of the Hugging Face hub has no weights of {backbone}",
        required=f"{repository} in the cache; nothing is downloaded without being asked for",
        fix=f"hf download {repository} {FILES[0]}",
    )
