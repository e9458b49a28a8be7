"""A given network as it is: its own graph in ONNX Runtime, in float32, as the reference of all its exports.

Shapes: N images, C channels, *spatial axes, K logits.
"""

from __future__ import annotations

import math
from functools import cached_property
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import torch
from torch import Tensor, nn

from lorkit.decompose.artifacts.arrays import Float32Array
from lorkit.decompose.errors import ArtifactError, DataError, UsageError, first_line, refusing_damage
from lorkit.export.onnx.cpu_runner import inferrer
from lorkit.export.onnx.given.form import GivenForm
from lorkit.export.onnx.given.graph import OURS, canonical_graph, in_float32, without_probabilities
from lorkit.export.onnx.given.reading import GivenFile, shape_text
from lorkit.export.runtime.graph_file import graph_macs
from lorkit.export.runtime.reference_images import seeded_inputs
from lorkit.export.targets.onnx import runtime_errors

_TRIED = (1, 3)
_SAME = 1e-3  # of the largest value: a frozen size gives errors of its order, rounding none


class GivenNetwork(nn.Module):
    """Images (N, C, *spatial) in [0, 1] to logits (N, K), of masks (N, K, *spatial), by the given file's own graph.

    Only its last softmax is left out, and float16 computed in float32. The normalisation, the order of axes and a batch
    that is fixed in the file are dealt with here, not in the graph.

    Args:
        file: The file.
        form: What it takes and returns.

    Raises:
        ArtifactError: ONNX Runtime does not load it.
        UsageError: Recipe and graph do not say the same, or its graph does not run for its images.
        DataError: It returns values that are not finite.
    """

    def __init__(self, file: GivenFile, form: GivenForm) -> None:
        super().__init__()
        self.file, self.form = file, form
        if file.input_shape[1:] != form.taken:
            raise UsageError(
                f"the network takes {shape_text(file.input_shape[1:])}, the recipe states {shape_text(form.taken)}",
                required="the same size, channels and layout",
                fix="correct image.size, image.channels or layout",
            )
        plain = in_float32(file.model)
        cut = without_probabilities(plain, stated=form.probabilities)
        with refusing_damage(
            file.path, required="a graph of standard operators", fix="export it again",
            said="does not load in ONNX Runtime", kind=ArtifactError,
        ):  # fmt: skip
            self._logits = inferrer(cut)
            self._given = inferrer(plain) if form.probabilities else None
        self._check_outputs()

    def __deepcopy__(self, memo: dict[int, Any]) -> GivenNetwork:
        """Return itself: it is frozen, and sessions cannot be copied."""
        return self

    def forward(self, image: Tensor) -> Tensor:
        """Return logits (N, K), of masks (N, K, *spatial)."""
        logits = self._run(image.detach().float().cpu().numpy())
        order = self.form.from_network
        logits = logits if order is None else logits.transpose(order)
        if self.single:
            logits = np.concatenate([np.zeros_like(logits), logits], axis=1)
        return torch.from_numpy(np.ascontiguousarray(logits))

    @cached_property
    def single(self) -> bool:
        """Whether it returns one logit, of the second of two classes."""
        shape = self._run(np.zeros((1, *self.form.recipe.shape), dtype=np.float32)).shape[1:]
        if not self.form.accepts(shape):
            raise UsageError(
                f"the network returns {shape_text(shape)} for an image, the recipe states "
                f"{', '.join(self.form.region.classes)}",
                required=f"{shape_text(self.form.returned(self.form.outputs))} for this task and these classes",
                fix="correct task, classes (or structures), image.size or layout",
            )
        return self.form.is_single(shape)

    def canonical(self) -> ir.Model:
        """Return its graph in the form of this project's files, checked to give the same for one and three images.

        Raises:
            UsageError: It cannot be brought into that form, such as one whose batch cannot be freed.
        """
        graph = canonical_graph(self.file, self.form, single=self.single)
        try:
            infer = inferrer(ir.to_proto(graph))
            for count in _TRIED:
                images = seeded_inputs(self.form.recipe.shape, count, seed=count)
                with torch.no_grad():
                    wanted = self(torch.from_numpy(images)).numpy()
                (found,) = infer({"image": images}).values()
                if found.shape != wanted.shape or not _close(found, wanted):
                    raise self._frozen(f"other values for {count} images at once")
        except runtime_errors() as error:
            raise self._frozen(f"an error ({first_line(error)[:160]})") from None
        return graph

    def _frozen(self, what: str) -> UsageError:
        batch = self.file.input_shape[0]
        return UsageError(
            f"{self.file.path} gives {what} once its batch is free"
            + ("" if batch is None else f" (the file fixes it at {batch})"),
            required="a network that computes each image alone, in any number",
            fix="export it again with a free first axis",
        )

    def _run(self, image: Float32Array) -> Float32Array:
        return self._of(self._logits, image)

    def _of(self, infer: Any, image: Float32Array) -> Float32Array:
        """Return what a graph gives for images in [0, 1], in its own order of axes."""
        mean, std = self.form.scale()
        taken = (image - mean) / std
        order = self.form.to_network
        taken = taken if order is None else taken.transpose(order)
        size = self.file.input_shape[0] or len(taken)
        found = []
        for start in range(0, len(taken), max(1, size)):
            part = taken[start : start + size]
            filled = np.concatenate([part, np.zeros((size - len(part), *part.shape[1:]), dtype=np.float32)])
            try:
                (outputs,) = infer({self.file.input_name: np.ascontiguousarray(filled)}).values()
            except runtime_errors() as error:
                raise UsageError(
                    f"{self.file.path} does not run for an image of {shape_text(self.form.taken)} "
                    f"({first_line(error)[:160]})",
                    required="a network of such images",
                    fix="correct the recipe, or export the network again",
                ) from None
            found.append(outputs[: len(part)])
        joined: Float32Array = np.concatenate(found).astype(np.float32, copy=False)
        return joined

    def _check_outputs(self) -> None:
        """Raise UsageError if what it returns are no logits of the classes, DataError if they are not finite."""
        images = seeded_inputs(self.form.recipe.shape, 2)
        single = self.single
        with torch.no_grad():
            logits = self(torch.from_numpy(images))
        if not bool(torch.isfinite(logits).all()):
            raise DataError(
                f"{self.file.path} returns values that are not finite", required="logits", fix="export it again"
            )
        if self._given is None:
            if self.form.exclusive and _are_shares(logits):
                raise UsageError(
                    "what the network returns for an image sums to 1, and output of the recipe is logits",
                    required="logits, or a last Softmax that can be left out",
                    fix="export it without its softmax, or state output: probabilities",
                )
            return
        given = self._of(self._given, images)
        order = self.form.from_network
        given = given if order is None else given.transpose(order)
        shares = torch.softmax(logits, dim=1) if self.form.exclusive else torch.sigmoid(logits)
        if not _close(given, shares.numpy()[:, 1:] if single else shares.numpy()):
            task, rule = self.form.region.task, "softmax over the classes" if self.form.exclusive else "sigmoid"
            raise UsageError(
                f"the last step of the network is no {rule}, which task {task} has",
                required=rule,
                fix="correct task or layout, or export the network without that step",
            )


def cost_of(graph: ir.Model) -> tuple[int, int | None]:
    """Return the weights of a canonical graph, and its MACs for one image; None if they cannot be counted."""
    model = ir.to_proto(graph)
    floats = [one for one in model.graph.initializer if one.data_type == onnx.TensorProto.FLOAT]
    count = sum(math.prod(one.dims) for one in floats if not one.name.startswith(OURS))
    return count, graph_macs(model)


def _close(found: Float32Array, wanted: Float32Array) -> bool:
    limit = _SAME * max(1.0, float(np.abs(wanted).max(initial=0.0)))
    return bool((np.abs(found - wanted) <= limit).all())


def _are_shares(logits: Tensor) -> bool:
    return bool((logits >= 0).all()) and bool(((logits.sum(dim=1) - 1).abs() < 1e-3).all())
