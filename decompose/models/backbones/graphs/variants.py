"""Names of RAGFormers with other sizes than the default ones, such as `ragformer:width=32,topology=false`.

Networks are built again from their names when they are extracted and exported, so a name has all that was chosen.
"""

from __future__ import annotations

from inspect import signature
from typing import Any, Unpack, cast

from lorkit.decompose.errors import UsageError, unknown
from lorkit.decompose.models.backbones.graphs.ragformer import Ragformer, Sizes

NAME = "ragformer"
_DEFAULTS: dict[str, Any] = {
    name: one.default for name, one in signature(Ragformer).parameters.items() if one.kind is one.KEYWORD_ONLY
}


def ragformer_name(**sizes: Unpack[Sizes]) -> str:
    """Return the name of a RAGFormer for `build_backbone`; sizes that are the default are left out."""
    chosen: dict[str, Any] = {**_DEFAULTS, **sizes}
    texts = [f"{key}={str(chosen[key]).lower()}" for key in _DEFAULTS if chosen[key] != _DEFAULTS[key]]
    return f"{NAME}:{','.join(texts)}" if texts else NAME


def changed_ragformer(name: str, **sizes: Unpack[Sizes]) -> str:
    """Return the name of a RAGFormer with some sizes changed; of another backbone that of the default one."""
    return ragformer_name(**cast(Sizes, {**(parse_ragformer(name) or {}), **sizes}))


def parse_ragformer(name: str) -> Sizes | None:
    """Return the sizes that a name states; None for the name of another backbone.

    Raises:
        UsageError: A size is unknown, or its value is not of its type.
    """
    if name != NAME and not name.startswith(f"{NAME}:"):
        return None
    found: dict[str, Any] = {}
    for text in filter(None, name.removeprefix(NAME).removeprefix(":").split(",")):
        key, _, value = text.partition("=")
        if key not in _DEFAULTS:
            raise unknown("size of ragformer", key, _DEFAULTS)
        found[key] = _value(name, key, value)
    return cast(Sizes, found)


def _value(name: str, key: str, text: str) -> Any:
    kind = type(_DEFAULTS[key])
    try:
        return {"true": True, "false": False}[text] if kind is bool else kind(text)
    except (KeyError, ValueError):
        wanted = {bool: "true or false", int: "a whole number", float: "a number"}[kind]
        raise UsageError(
            f"{key} '{text}' of backbone '{name}'", required=wanted, fix=f"change the {key}, or leave it out"
        ) from None
