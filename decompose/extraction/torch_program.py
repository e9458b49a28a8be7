"""Write a network as one file that torch alone can run (`torch.export`), without traces of its origin."""

from __future__ import annotations

import io
from pathlib import Path
from typing import cast

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram

from lorkit.decompose.artifacts import write_bytes
from lorkit.decompose.documents.heads import REGION
from lorkit.decompose.errors import ParityError

# batch sizes at which the written program is compared with its network
BATCHES = (1, 3)


def write_program(network: nn.Module, path: Path, *, shape: tuple[int, ...]) -> None:
    """Write a network as `model.pt2` with a free batch size, and check that it computes the same when read back.

    The network is in eval mode and maps images (N, *shape) to outputs, or what its `input_names` state: `region` are
    the indices (N,) of the images' regions.

    Raises:
        ParityError: The program that was read back has other outputs.
    """
    example = _inputs(network, 2, shape)
    batch = Dim("batch", min=1)
    program = torch.export.export(network, example, dynamic_shapes=tuple({0: batch} for _ in example))
    _forget_origin(program)
    stream = io.BytesIO()  # given a path, torch reports a full disk as an error of its own, without the file
    torch.export.save(program, stream)
    write_bytes(path, stream.getvalue())
    again = torch.export.load(io.BytesIO(path.read_bytes())).module()
    for count in BATCHES:
        inputs = _inputs(network, count, shape)
        with torch.no_grad():
            found, expected = again(*inputs), network(*inputs)
        for one, other in zip(_several(found), _several(expected), strict=True):
            _compare(one, other, path)


def _inputs(network: nn.Module, count: int, shape: tuple[int, ...]) -> tuple[Tensor, ...]:
    images = torch.rand(count, *shape, generator=torch.Generator().manual_seed(count))
    if REGION not in getattr(network, "input_names", ()):
        return (images,)
    return images, torch.arange(count) % len(cast("tuple[str, ...]", network.output_names))


def _several(outputs: Tensor | tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    return (outputs,) if isinstance(outputs, Tensor) else tuple(outputs)


def _forget_origin(program: ExportedProgram) -> None:
    """Delete stack traces, which contain directories and lines of code that no runtime reads."""
    for module in program.graph_module.modules():
        if isinstance(module, torch.fx.GraphModule):
            for node in module.graph.nodes:
                node.meta.pop("stack_trace", None)


def _compare(found: Tensor, expected: Tensor, path: Path) -> None:
    difference = float((found - expected).abs().max())
    if not difference <= 1e-4 * max(1.0, float(expected.abs().max())):
        raise ParityError(
            f"{path.name} differs from its network by {difference:.3g}",
            required="equal outputs within 1e-4",
            fix="report the backbone: torch.export changed its meaning",
        )
