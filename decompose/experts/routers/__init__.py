"""Routers of MoLA-Router: images or early features to hidden numbers, from which the gates follow; one file each."""

from __future__ import annotations

from lorkit.decompose.errors import unknown
from lorkit.decompose.experts.routers import downscaled, features, image
from lorkit.decompose.experts.routers.base import Router

__all__ = ["ROUTERS", "Router", "router_class"]

ROUTERS: dict[str, type[Router]] = {
    "features": features.FeatureRouter,
    "downscaled": downscaled.DownscaledRouter,
    "image": image.ImageRouter,
}


def router_class(name: str) -> type[Router]:
    """Return the class of a router, which is built from (C, *spatial) of its input; UsageError for an unknown name."""
    if name not in ROUTERS:
        raise unknown("router", name, ROUTERS)
    return ROUTERS[name]
