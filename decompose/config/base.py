"""Base class of the sections of `decompose.yaml`, and types of numbers."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

MOST = 1_000_000_000
"""No setting is a larger number: one that is was mistyped, and would overflow or take memory without end."""
Positive = Annotated[float, Field(gt=0, le=MOST, allow_inf_nan=False)]
NonNegative = Annotated[float, Field(ge=0, le=MOST, allow_inf_nan=False)]
Fraction = Annotated[float, Field(ge=0, lt=1, allow_inf_nan=False)]
Finite = Annotated[float, Field(ge=-1e300, le=1e300, allow_inf_nan=False)]
"""A value in the unit of the data."""
Temperature = Annotated[float, Field(gt=0, le=1000, allow_inf_nan=False)]
Rate = Annotated[float, Field(gt=0, le=1000, allow_inf_nan=False)]
"""A learning rate."""
Count = Annotated[int, Field(ge=1, le=1_000_000)]
Epochs = Annotated[int, Field(ge=1, le=100_000)]
Rank = Annotated[int, Field(ge=1, le=4096)]
"""Of factors; no layer of the backbones has more channels."""
Side = Annotated[int, Field(ge=1, le=65_536)]
"""Of an input of a network; pixels and voxels have closer bounds."""
Width = Annotated[int, Field(ge=1, le=16_384)]
"""Channels of a layer; memory may allow fewer."""


class Section(BaseModel):
    """A section of the configuration: unknown keys are refused, and values are frozen."""

    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)


def as_list(value: Any) -> Any:
    """Convert a single text to a list of one."""
    return [value] if isinstance(value, str) else value


def as_square(value: Any) -> Any:
    """Convert one whole number to two equal sides; refuse anything but two or three sides."""
    if isinstance(value, int) and not isinstance(value, bool):
        return (value, value)
    if isinstance(value, list | tuple) and len(value) not in (2, 3):
        raise ValueError("[height, width] of 2D images, or three sides of volumes")
    return value
