"""Write a network as one file that torch alone can run (`torch.export`), without traces of its origin."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram

from lorkit.decompose.errors import ParityError

# batch sizes at which the written program is compared with its network
BATCHES = (1, 3)


def write_program(network: nn.Module, path: Path, *, shape: tuple[int, ...]) -> None:
    """Write a network as `model.pt2` with a free batch size, and check that it computes the same when read back.

    The network is in eval mode and maps images (N, *shape) to outputs.

    Raises:
        ParityError: The program that was read back has other outputs.
    """
    example = torch.rand(2, *shape, generator=torch.Generator().manual_seed(0))
    program = torch.export.export(network, (example,), dynamic_shapes=({0: Dim("batch", min=1)},))
    _forget_origin(program)
    torch.export.save(program, path)
    again = torch.export.load(path).module()
    for count in BATCHES:
        images = torch.rand(count, *shape, generator=torch.Generator().manual_seed(count))
        with torch.no_grad():
            _compare(again(images), network(images), path)


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
