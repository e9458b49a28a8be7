"""What names a space: every circumstance that decides a feature, and nothing that does not."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch

from lorkit.decompose.artifacts import digest_json, digest_tensors
from lorkit.decompose.config import TrainConfig
from lorkit.decompose.data.prepared import PreparedRegion
from lorkit.decompose.models.foundation.model import Foundation
from lorkit.decompose.training.feature_cache.tensors import FeatureLayout

# Raised when the same teacher would answer otherwise to the same picture: what was kept before is then never met.
REVISION = 1
_DRAWS = ("flip", "share", "shift", "rotate", "scale", "intensity")


@dataclass(frozen=True, kw_only=True)
class FeatureNamespace:
    """One kind of features.

    Attributes:
        name: Digest of its circumstances, the name of its directory.
        layout: Of its tensors.
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
    """Return the space of a region's features.

    The seed counts where it draws the versions of a picture; without augmentation all seeds share. How many views
    there are does not: the first of many is the first of few.

    Args:
        teacher: Digest of its weights.
        foundation: The teacher.
        prepared: Samples of the region as the student sees them, whose size is that of the augmentation's geometry,
            and as the teacher does.
        layout: Of the answers.
        train: Augmentation and precision.
        seed: Of the augmentation.
        device: Where the teacher runs: another kind rounds otherwise.
    """
    augment = None
    if train.augment is not None:
        augment = {key: getattr(train.augment, key) for key in _DRAWS} | {"seed": seed}
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
    """Return the digest of a teacher's weights and normalisation; heads are not included.

    A user's own teacher states a digest besides: torch may hold none of its weights.
    """
    state = foundation.model.state_dict().items()
    tensors = {name: value for name, value in state if not name.startswith("heads.")}
    return digest_tensors(tensors, foundation.digest if foundation.is_teacher else "")


def cache_key(content: str, view: int) -> bytes:
    """Return the key of a sample within a space: its pixels' digest and the number of the view."""
    return bytes.fromhex(content) + view.to_bytes(4, "little")


def _plain(image: Any) -> dict[str, Any]:
    return {key: list(value) if isinstance(value, tuple) else value for key, value in dict(image).items()}
