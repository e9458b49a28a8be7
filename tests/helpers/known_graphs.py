"""Translations of networks to ONNX, which tests share as the exports of one call do."""

from __future__ import annotations

from functools import cache

import pytest
import torch
from onnxscript import ir
from torch._export import utils
from torch.onnx._internal.exporter._registration import ONNXRegistry

from lorkit.export.onnx import conversion


def translate_once(patch: pytest.MonkeyPatch) -> None:
    """Share graphs between tests as a Tracer does between exports, and the exporter's table of operators.

    Networks with lifted constants do not share graphs: a Tracer tells constants apart by their identity.
    """
    translate, graphs = conversion._translate, {}

    def known(program: torch.export.ExportedProgram, *names: tuple[str, ...]) -> ir.Model:
        if program.constants:
            return translate(program, *names)
        key = (*names, *conversion._architecture(program))
        if key not in graphs:
            graphs[key] = translate(program, *names)
        return graphs[key]

    patch.setattr(conversion, "_translate", known)
    know_operators_once(patch)


def know_operators_once(patch: pytest.MonkeyPatch) -> None:
    """Let torch make its tables of operators once: it makes one for each graph, for a second.

    It also asks for each of a thousand operators, for every namespace of every trace.
    """
    patch.setattr(ONNXRegistry, "from_torchlib", staticmethod(cache(ONNXRegistry.from_torchlib)))
    patch.setattr(utils, "_materialize_cpp_cia_ops", cache(utils._materialize_cpp_cia_ops))
