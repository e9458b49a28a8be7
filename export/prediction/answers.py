"""The answers of a network to prepared images, for files and for arrays alike.

Shapes: N images, C classes, S structures.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from lorkit.decompose.artifacts.arrays import Bits, Float32Array, Mask
from lorkit.decompose.data.preprocessing.decoding import decode_at
from lorkit.decompose.data.preprocessing.mirroring import check_flips, with_mirrored
from lorkit.decompose.documents.heads import IMAGE, LOGITS
from lorkit.decompose.documents.predict import PredictedImage, SegmentedImage
from lorkit.decompose.errors import ArtifactError, UsageError
from lorkit.decompose.events import Listener
from lorkit.decompose.tasks import get_task
from lorkit.export.prediction.network import LoadedNetwork
from lorkit.export.prediction.preparation import PreparedImage
from lorkit.export.prediction.structures import PLAIN, MaskOptions
from lorkit.export.prediction.writers.target import MaskTarget
from lorkit.export.runtime.batch_size import fitting

_CHUNK = 32


@dataclass(frozen=True)
class Answers:
    """The answers to some images.

    Attributes:
        rows: One per image, as the document of `predict` has them.
        outputs: Arrays (N, ...) by name: `logits`, or those of a router.
        masks: Of a segmentation network: each image's mask in the axes of the image as read, None where it was refused;
            of a router also where the head of the region gives none.
    """

    rows: list[PredictedImage]
    outputs: Mapping[str, Float32Array]
    masks: list[Mask | Bits | None]


def chunk_size(network: LoadedNetwork, options: MaskOptions = PLAIN) -> int:
    """Return how many images are prepared and run at a time: volumes that are kept as read one by one."""
    if network.volumes is not None or (options.need_image and network.recipe.dims == 3):
        return 1
    return fitting(network.region, network.shape, most=_CHUNK)


def require_images(network: LoadedNetwork, *, allow_synthetic: bool) -> None:
    """Check that a network answers images, and may do so.

    Raises:
        UsageError: It scores nodes of a graph.
        ArtifactError: It was trained on phantoms only, and that is not allowed.
    """
    if network.recipe.nodes is not None:
        raise UsageError(
            f"files for {network.path}, which scores the nodes of a graph",
            required="rows with their keys, one JSON object per line",
            fix="use --stream FILE --store FILE; the README of an export says how to score prepared nodes",
        )
    if network.info.synthetic and not allow_synthetic:
        raise ArtifactError(
            f"{network.path} was trained on phantoms only",
            required="an expert trained on images of patients",
            fix="allow it for a test with --allow-synthetic, in Python with allow_synthetic=True",
        )


def with_flips(network: LoadedNetwork) -> LoadedNetwork:
    """Return the network with the mean of the logits of images and their mirror images.

    Raises:
        UsageError: It finds the region of an image, or the region has two sides.
    """
    if network.router is not None or network.info.kind == "mixture":
        raise UsageError(
            f"--flips for {network.path}, which finds the region of an image",
            required="the network of one region",
            fix="name it with --region, or leave --flips out",
        )
    check_flips(network.region.name, network.info.sided)
    return replace(network, run=with_mirrored(network.run))


def limit_memory(network: LoadedNetwork, memory_gib: float | None, on_event: Listener) -> None:
    """Set how much memory a network may take for a volume window by window, and who receives its progress."""
    if network.volumes is not None:
        network.volumes.limit = None if memory_gib is None else round(memory_gib * 2**30)
        network.volumes.on_event = on_event


def mask_of(network: LoadedNetwork, image: PreparedImage) -> Mask | Bits:
    """Run a network with masks on one image, and return its mask in the axes of the image as read."""
    if network.volumes is not None:
        assert image.case is not None  # prepared for this network
        return network.volumes.mask(network.run, image.case, image.values, image.size, image.path.name)
    exclusive = get_task(network.region.task).exclusive
    return decode_at(network.run(image.values[None])[0], image.size, exclusive=exclusive)


def answer(
    network: LoadedNetwork,
    chunk: Sequence[PreparedImage],
    targets: Sequence[MaskTarget | None],
    *,
    top: int = 1,
    allow_out_of_region: bool = False,
    options: MaskOptions = PLAIN,
) -> Answers:
    """Run a network on prepared images, and decode its outputs.

    Args:
        network: The network.
        chunk: The images, at most `chunk_size`.
        targets: Files of each image's mask; None writes none.
        top: Number of classes per image.
        allow_out_of_region: Whether images that do not look like the region get an answer too.
        options: What is made of masks.
    """
    if network.volumes is not None:
        volumes = _windowed(network, chunk, targets, allow_out_of_region, options)
        return Answers([row for row, _ in volumes], {}, [mask for _, mask in volumes])
    batch = np.stack([image.values for image in chunk])
    if network.router is not None:
        from lorkit.export.prediction import routed

        outputs = network.infer({IMAGE: batch})
        rows, masks = routed.rows(
            network.router, chunk, outputs, targets, top=top, allow_out_of_region=allow_out_of_region
        )
        return Answers([*rows], outputs, masks)
    logits = network.run(batch)
    if not network.dense and not network.multilabel:
        from lorkit.export.prediction import classification

        labelled = classification.rows(network.region, chunk, logits, top, allow_out_of_region=allow_out_of_region)
        return Answers([*labelled], {LOGITS: logits}, [])
    found = Answers([], {LOGITS: logits}, [])
    for image, own, target in zip(chunk, logits, targets, strict=True):
        taken = None if image.check.out_of_region is True and not allow_out_of_region else own
        if network.dense:
            from lorkit.export.prediction import segmentation

            row, mask = segmentation.masked_row(network.region, image, taken, target, options)
            found.rows.append(row)
            found.masks.append(mask)
        else:
            from lorkit.export.prediction import multilabel

            assert network.info.kind != "mixture"
            found.rows.append(multilabel.row(network.info, image, taken))
    return found


def _windowed(
    network: LoadedNetwork,
    chunk: Sequence[PreparedImage],
    targets: Sequence[MaskTarget | None],
    allow_out_of_region: bool,
    options: MaskOptions,
) -> list[tuple[SegmentedImage, Mask | Bits | None]]:
    """Answer volumes that the network takes window by window, one after the other."""
    from lorkit.export.prediction import segmentation

    found = []
    for image, target in zip(chunk, targets, strict=True):
        case = image.case
        assert case is not None
        mask: Mask | Bits | None = None
        if allow_out_of_region or image.check.out_of_region is not True:
            mask = mask_of(network, image)
        with case.stages.stage("write"):
            row, mask = segmentation.masked_row(network.region, image, None, target, options, mask=mask)
        found.append((row.with_changes(case_costs=case.costs()), mask))
    return found
