"""`network.json`: a network that lorkit did not train, as its ONNX file and its recipe describe it."""

from __future__ import annotations

from typing import Literal

from lorkit.decompose.documents.base import Digest, Document
from lorkit.decompose.documents.network import RegionInfo


class GivenInfo(RegionInfo, Document):
    """The `network.json` of a network that lorkit did not train."""

    kind: Literal["network"] = "network"
    source: str
    """Name of the ONNX file, of which `source.onnx` is a copy with its weights inside."""
    source_digest: Digest
    """Of the file that was given."""
    opset: int
    input_name: str
    input_shape: list[int | None]
    """As the file states it; null is free."""
    output_name: str
    layout: Literal["channels-first", "channels-last"]
    """Where its images, and its masks, have their channels."""
    output: Literal["logits", "probabilities"]
    cases: dict[str, int]
    """Number of images by part: `train` calibrates, `val` chooses, `test` judges."""
