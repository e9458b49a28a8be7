"""Outputs of a frozen foundation for a student, and foundations without a backbone of this project.

The protocol `Teacher` lets a user's module or an ONNX file replace a backbone: methods, linear probes and evaluation
use all foundations alike.

Shapes: N images, C channels, C_i grid_i of stage i, F features.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from lorkit.decompose.artifacts import digest_tensors
from lorkit.decompose.config.schema import ImageConfig
from lorkit.decompose.errors import UsageError, first_line
from lorkit.decompose.models.backbones.stages import EMPTY, Encoding, Forked, StageContext, mean_of_positions

TEACHER = "teacher:"
"""Name of a user's foundation in a configuration: this and the first digits of its digest."""


class TeacherFeatures(NamedTuple):
    """Features of a frozen network, in the order of the batch.

    Attributes:
        grids: (N, C_i, *grid_i) of each stage, coarse last; empty if a method needs only pooled features.
        features: (N, F) pooled, or (N, F, *spatial) of a network for dense outputs.
    """

    grids: tuple[Tensor, ...]
    features: Tensor


@runtime_checkable
class Teacher(Protocol):
    """The user's own foundation: `train(config, teacher=...)`.

    It may be an `nn.Module`, have modules as attributes, or neither; its modules are frozen and in eval mode.

    Attributes:
        image: Size, channels and normalisation of its input, for which images are prepared from the originals.
        digest: Hexadecimal digest of its weights (see `weights_digest`), by which runs are found again.
    """

    image: ImageConfig
    digest: str

    def features(self, image: Tensor) -> TeacherFeatures:
        """Return the stages (four for `drd`, none needed for other methods) and pooled features.

        Args:
            image: (N, C, *size) float32, normalised as in `image`.
        """
        ...


def weights_digest(module: nn.Module) -> str:
    """Return the SHA-256 of a module's parameters and buffers with their names, types and shapes."""
    return digest_tensors(module.state_dict())


def teacher_name(teacher: Teacher) -> str:
    """Return the name of a teacher in configurations and artifacts."""
    return f"{TEACHER}{teacher.digest[:16]}"


class TeacherBackbone(nn.Module):
    """A teacher as a backbone: normalised images (N, C, *spatial) to pooled features (N, F), or maps (N, F, *spatial).

    Args:
        teacher: Called once with two empty images to find its shapes.

    Raises:
        UsageError: Its outputs do not follow the protocol.
    """

    head_name = "head"

    def __init__(self, teacher: Teacher) -> None:
        super().__init__()
        self.teacher = teacher
        if not isinstance(teacher, nn.Module):  # its modules are moved and frozen too
            held = [value for value in vars(teacher).values() if isinstance(value, nn.Module)]
            self.held = nn.ModuleList(held)
        self.head: nn.Module = nn.Identity()
        found = _checked(self, teacher)
        self.feature_dim = int(found.features.shape[1])
        self.image_shape = (teacher.image.channels, *teacher.image.size)
        if found.features.dim() > 2:
            self.maps_dim = self.feature_dim
        self.stages = tuple(tuple(grid.shape[1:]) for grid in found.grids)

    def fork(self) -> Forked:
        """Return the network with maps and, for classes, their mean."""
        return _Maps(self)

    @property
    def has_modules(self) -> bool:
        """Whether torch runs it, so that its parameters and multiply-accumulates can be counted."""
        return any(True for _ in self.parameters())

    def forward(self, x: Tensor) -> Tensor:
        """Return the pooled features, or the logits of an attached head."""
        found: Tensor = self.head(self.teacher.features(x).features)
        return found


class _Maps:
    """A teacher of maps, whose pooled features are their mean."""

    def __init__(self, network: TeacherBackbone) -> None:
        self.network = network

    def first_grid(self, x: Tensor) -> tuple[Tensor, StageContext]:
        return self.network(x), EMPTY

    def encode_from(self, stage: int, grid: Tensor, context: StageContext = EMPTY) -> Encoding:
        return Encoding(grid, (grid,))

    def pooled(self, last: Tensor) -> Tensor:
        return mean_of_positions(last)

    def maps(self, encoding: Encoding) -> Tensor:
        return encoding.last


def freeze_(model: nn.Module) -> None:
    """Freeze a teacher, in place: no parameter has gradients, every module is in eval mode.

    Called before every forward. The flags are set directly, because a user's class may override `train` and `eval`, and
    an active batch norm or dropout would change the teacher during training.
    """
    for module in model.modules():
        module.training = False
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.requires_grad_(False)


def _checked(owner: nn.Module, teacher: Teacher) -> TeacherFeatures:
    image, count = teacher.image, 2
    freeze_(owner)
    anything = next(owner.parameters(), None)
    example = torch.zeros(count, image.channels, *image.size, device=None if anything is None else anything.device)
    try:
        with torch.no_grad():
            found = TeacherFeatures(*teacher.features(example))
    except (RuntimeError, ValueError, TypeError) as error:  # errors of the user's network
        shape = f"{image.channels} x {' x '.join(map(str, image.size))}"
        raise UsageError(
            f"the teacher cannot process images {shape} ({first_line(error)})",
            required="features(image) for images as its `image` states",
            fix="correct its image (size, channels), or its features",
        ) from None
    features, *grids = ([*value.shape] for value in (found.features, *found.grids))
    whole = (2, 2 + len(image.size))  # pooled, or at the image's resolution for dense outputs
    if (
        len(features) not in whole
        or any(len(one) < 3 for one in grids)
        or any(one[0] != 2 for one in (features, *grids))
    ):
        raise UsageError(
            f"the teacher returns features {features} and stages {grids} of {count} images",
            required=f"features ({count}, F) and stages ({count}, C, *grid)",
            fix="pool its features, and keep the batch first",
        )
    return found
