"""The section of `decompose.yaml` for images without labels, which only the teacher's terms use."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, model_validator

from lorkit.decompose.config.base import Section


class UnlabelledConfig(Section):
    """Use of the images that regions name as `unlabelled`, by methods with a teacher.

    `share` is the part of a region's samples in a batch that has no label; 0 leaves these images out. An epoch has as
    many steps as without them. `pseudo_labels` is a probability: images to which the teacher gives a class with at
    least this one count as labelled with it; null leaves them to the teacher's terms. `rest` is for comparisons of
    fractions: the patients that a fraction leaves out are unlabelled.
    """

    share: Annotated[float, Field(ge=0, lt=1)] = 0.5
    pseudo_labels: Annotated[float, Field(gt=0, le=1)] | None = None
    rest: bool = False

    @model_validator(mode="after")
    def _used(self) -> UnlabelledConfig:
        if self.pseudo_labels is not None and self.share == 0:
            raise ValueError("unlabelled.share above 0 with unlabelled.pseudo_labels")
        return self
