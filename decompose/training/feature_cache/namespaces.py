"""The name of a namespace of features: the digest of all circumstances that determine a feature."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch

from lorkit.decompose.artifacts import digest_json, digest_tensors
from lorkit.decompose.config import TrainConfig
from lorkit.decompose.data.batches.augmentation import augment_of
from lorkit.decompose.data.prepared import PreparedRegion
from lorkit.decompose.models.foundation.model import Foundation
from lorkit.decompose.training.feature_cache.tensors import FeatureLayout

# Increment when the same teacher would have other features, so that stored ones are not used.
REVISION = 1
_DRAWS = ("flip", "share", "shift", "rotate", "scale", "intensity")


@dataclass(frozen=True, kw_only=True)
class FeatureNamespace:
    """One kind of features.

    Attributes:
        name: Digest of its circumstances, the name of its directory.
        layout: Layout of its tensors.
        about: The circumstances, as plain data.
    """

    name: str
    layout: FeatureLayout
    about: dict[str, Any] = field(default_factory=dict)

    @property
    def sample_bytes(self) -> int:
        """Bytes of one sample on disk."""
        return sum(part.bytes for part in self.layout.values())


def namespace_of(
    teacher: str,
    foundation: Foundation,
    prepared: tuple[PreparedRegion, PreparedRegion],
    layout: FeatureLayout,
    train: TrainConfig,
    *,
    seed: int,
    device: torch.device,
) -> FeatureNamespace:
    """Return the namespace of a region's features.

    The seed is part of it only with augmentation; the number of views is not, since the first of many views is the
    first of few.

    Args:
        teacher: Digest of its weights.
        foundation: The teacher.
        prepared: Samples of the region prepared for the student, whose size defines the augmentation, and for the
            teacher.
        layout: Layout of the outputs.
        train: Augmentation and precision.
        seed: Seed of the augmentation.
        device: Device of the teacher, since kinds of devices round differently.
    """
    augment, changes = None, augment_of(prepared[0], train.augment)
    if changes is not None:
        augment = {key: getattr(changes, key) for key in _DRAWS} | {"seed": seed}
        if changes.random is not None:
            augment["random"] = changes.random.model_dump(mode="json")
    about = {
        "revision": REVISION,
        "torch": torch.__version__,
        "device": device.type,
        "precision": train.precision,
        "teacher": {"weights": teacher, "backbone": foundation.backbone, "image": _plain(foundation.image)},
        "asked": {name: part.to_json() for name, part in layout.items()},
        "recipes": [one.recipe.to_json() for one in prepared],
        "augment": augment,
    }
    return FeatureNamespace(name=digest_json(about)[:32], layout=layout, about=about)


def teacher_digest(foundation: Foundation) -> str:
    """Return the digest of a teacher's weights and normalisation, without heads.

    A user's own teacher states a further digest, since torch may have none of its weights.
    """
    state = foundation.model.state_dict().items()
    tensors = {name: value for name, value in state if not name.startswith("heads.")}
    return digest_tensors(tensors, foundation.digest if foundation.is_teacher else "")


def cache_key(content: str, view: int) -> bytes:
    """Return the key of a sample within a namespace: the digest of its pixels and the number of the view."""
    return bytes.fromhex(content) + view.to_bytes(4, "little")


def _plain(image: Any) -> dict[str, Any]:
    return {key: list(value) if isinstance(value, tuple) else value for key, value in dict(image).items()}
