"""Base class of the sections of `decompose.yaml`, and types of numbers."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NonNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Fraction = Annotated[float, Field(ge=0, lt=1, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=1)]


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
