"""What a writer of masks takes, and what it is asked for.

Shapes: a mask is (H, W), or (D, H, W) in the axes of the image as read: right, anterior, superior for volumes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class MaskLabel:
    """One structure of a mask.

    Attributes:
        value: Its number in masks; in masks of overlapping structures one more than the number of its bit.
        name: Its name.
        region: The region whose network draws it.
    """

    value: int
    name: str
    region: str


@dataclass(frozen=True)
class MaskSource:
    """What made a mask, as a format that has room for it says.

    Attributes:
        region: The region, or several, separated by commas.
        network: Owner, target and precision of the network, such as `expert onnx fp32`.
        digests: Digest of the network of each region.
        version: Version of lorkit.
        synthetic: Whether the network was trained on phantoms only.
    """

    region: str
    network: str
    digests: Mapping[str, str]
    version: str
    synthetic: bool = False


@dataclass(frozen=True, eq=False)
class LabelledMask:
    """The mask of one image.

    Attributes:
        path: The image.
        values: Its structures: one number per voxel, or one bit per structure where structures overlap.
        labels: The structures that it can hold, also those that are empty.
        overlapping: Whether `values` are bit sets.
    """

    path: Path
    values: NDArray[Any]
    labels: Sequence[MaskLabel]
    overlapping: bool = False

    def layer(self, label: MaskLabel) -> NDArray[np.bool_]:
        """Return where a structure is."""
        if not self.overlapping:
            return np.asarray(self.values == label.value)
        bit = self.values.dtype.type(1 << (label.value - 1))
        return np.asarray(self.values & bit != 0)

    def layers(self) -> Iterator[tuple[MaskLabel, NDArray[np.bool_]]]:
        """Yield each structure with the place where it is."""
        yield from ((label, self.layer(label)) for label in self.labels)


class Writer(Protocol):
    """A format of masks.

    Attributes:
        name: As `--to` names it.
    """

    name: str

    def check(self, path: Path) -> None:
        """Raise before any network runs if masks of an image cannot be written, or a package is missing."""
        ...

    def suffixes(self, labels: Sequence[MaskLabel], *, overlapping: bool) -> list[str]:
        """Return what the names of the files of one mask have after the stem of the image, in order."""
        ...

    def encode(self, mask: LabelledMask, source: MaskSource) -> Iterator[bytes]:
        """Yield the content of the files, in the order of `suffixes`."""
        ...


def file_part(name: str) -> str:
    """Return a structure's name as a part of a file name: letters, digits, `-` and `_`."""
    return "".join(letter if letter.isalnum() or letter in "-_" else "_" for letter in name)
