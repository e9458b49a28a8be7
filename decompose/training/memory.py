"""Whether a training fits in memory, judged by what is certain before anything of it is taken.

These are lower bounds: the layers of a network keep more. So nothing is refused that would fit.
"""

from __future__ import annotations

import math

from torch import nn

from lorkit.decompose.config import Config, ImageConfig
from lorkit.decompose.machine import available_bytes, check_memory

_FLOAT = 4
_MOMENTS = {"adamw": 2, "sgd": 1}  # arrays that an optimiser keeps of a weight
_COPIES = 2  # a batch as it is read, and normalised


def check_batch(config: Config) -> None:
    """Raise UsageError if a micro-batch of images does not fit in the memory that is free.

    Args:
        config: Settings with resolved networks; of graphs with the shape of a node's input.
    """
    samples = math.ceil(config.train.batch_size / config.train.accumulate)
    images = [config.image, *([] if config.image.nodes else [config.foundation_image])]
    largest = max(images, key=_bytes)
    one = _COPIES * _bytes(largest)
    check_memory(
        samples * one,
        f"train.batch_size {config.train.batch_size} with inputs of {_shape(largest)}",
        fix=f"set train.batch_size to {max(2, available_bytes() // one // 2)} or less, or raise train.accumulate",
    )


def check_trained(module: nn.Module, config: Config) -> None:
    """Raise UsageError if the gradients of a network's trainable weights, and its optimiser, do not fit in memory."""
    weights = sum(value.numel() for value in module.parameters() if value.requires_grad and not value.is_meta)
    check_memory(
        (1 + _MOMENTS[config.train.optimizer]) * _FLOAT * weights,
        f"training {weights:,} weights of method {config.method}",
        fix="choose a smaller student.backbone, lorkd.rank, mola.rank or rd.hidden, or fewer regions",
    )


def _bytes(image: ImageConfig) -> int:
    return _FLOAT * image.channels * math.prod(image.size)


def _shape(image: ImageConfig) -> str:
    return " x ".join(map(str, (image.channels, *image.size)))
