"""Time of one image from file to prediction, by stage: reading, preparing, the network, decoding.

A faster engine saves little if reading and resampling take longer. So this time is reported with the engine's own, for
a user's file or a drawn one of a stated size.

Shapes: C channels, spatial axes as in the recipe.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from lorkit import __version__
from lorkit.decompose.data.formats.registry import open_image
from lorkit.decompose.data.formats.stored import network_values
from lorkit.decompose.data.preprocessing.decoding import decode_at
from lorkit.decompose.data.preprocessing.recipe import apply_recipe
from lorkit.decompose.documents.bench import EndToEnd
from lorkit.decompose.documents.heads import IMAGE, REGION
from lorkit.decompose.tasks import get_task
from lorkit.decompose.tasks.classification import most_probable
from lorkit.export.prediction import inputs, multilabel
from lorkit.export.prediction.inputs import network_spacing
from lorkit.export.prediction.routed import answers_of
from lorkit.export.prediction.structures import kept_labels, labelled
from lorkit.export.prediction.volumes import StatedVolume, VolumeRunner
from lorkit.export.prediction.writers.base import MaskSource
from lorkit.export.prediction.writers.registry import writer_of
from lorkit.export.prediction.writers.spool import Spool
from lorkit.export.prediction.writers.target import MaskTarget
from lorkit.export.runtime.exported import Exported
from lorkit.export.runtime.reference_images import seeded_inputs
from lorkit.export.targets.base import Engine, Outputs

PICTURE, VOLUME = (512, 512), 2
"""Size of drawn 2D images, and factor of a drawn volume's sides to those of the network."""
_FEWEST, _MOST = 5, 25


def end_to_end(
    exported: Exported,
    engine: Engine,
    image: Path | None = None,
    *,
    seconds: float = 2.0,
    clock: Callable[[], float] = time.perf_counter,
) -> EndToEnd:
    """Time one image from file to prediction, repeatedly.

    The first round, after which the file is in the system's cache, is not counted.

    Args:
        exported: The export.
        engine: Its engine, warm.
        image: A file; a drawn one by default.
        seconds: Time for all rounds; at least five are run.
        clock: Seconds, monotonic.

    Raises:
        DataError: The file cannot be read or prepared.
    """
    with tempfile.TemporaryDirectory(prefix="lorkit-") as folder:
        path = image or _drawn(exported, Path(folder))
        if exported.recipe.window is not None:
            return _windowed(exported, engine, path, clock, given=image is not None)
        stop, rounds = clock() + seconds, list[list[float]]()
        _round(exported, engine, path, clock)
        while len(rounds) < _FEWEST or (len(rounds) < _MOST and clock() < stop):
            rounds.append(_round(exported, engine, path, clock))
        shape = " x ".join(map(str, inputs.read(path, exported.recipe).shape))
    times_RS = np.array(rounds) * 1e3
    read, prepare, run, answer = np.median(times_RS, axis=0).tolist()
    kind = f"{path.name}, {shape}" if image is not None else f"drawn {path.suffixes[0][1:]}, {shape}"
    total = float(np.median(times_RS.sum(axis=1)))
    return EndToEnd(
        input=kind, n=len(rounds), read_ms=read, prepare_ms=prepare, engine_ms=run, answer_ms=answer, total_ms=total
    )


def _windowed(exported: Exported, engine: Engine, path: Path, clock: Callable[[], float], *, given: bool) -> EndToEnd:
    """Time one volume window by window until its mask is written, once: that takes as long as many pictures."""
    (head,) = exported.info.heads
    runner = VolumeRunner(exported.recipe, get_task(head.task).exclusive)
    case, begin = runner.begin(engine.run, path), clock()
    stored = open_image(path)
    values = network_values(stored, exported.recipe.intensity, str(path), exported.recipe.dims)
    seconds, spacing, width = clock() - begin, network_spacing(stored), stored.values.dtype.itemsize
    case = case or runner.plan(engine.run, StatedVolume(values.shape, spacing, width, width))
    case.stages.seconds["read"] = seconds
    with case.stages.stage("resample"):
        volume = apply_recipe(exported.recipe, values, spacing)
    mask = runner.mask(engine.run, case, volume, values.shape, path.name)
    region, about = head.as_region(), MaskSource(head.region, exported.owner, {}, __version__)
    with Spool() as spool, case.stages.stage("write"):
        target = MaskTarget(spool, "mask", writer_of(path), about)
        target.write(labelled(path, region, mask, kept_labels(region, None)))
    costs, shape = case.costs(), " x ".join(map(str, values.shape))
    ms = {name: seconds * 1e3 for name, seconds in costs.stage_seconds.items()}
    return EndToEnd(
        input=f"{path.name}, {shape}" if given else f"drawn nii, {shape}",
        n=1,
        read_ms=ms["read"],
        prepare_ms=ms["resample"],
        engine_ms=ms["network"],
        answer_ms=ms["windows"] + ms["blend"] + ms["inverse_resample"] + ms["argmax"] + ms["write"],
        total_ms=sum(ms.values()),
        volume=costs,
    )


def _round(exported: Exported, engine: Engine, path: Path, clock: Callable[[], float]) -> list[float]:
    """Return the seconds of each stage."""
    given, marks = exported.info.inputs, [clock()]
    read = inputs.read(path, exported.recipe)
    marks.append(clock())
    prepared = apply_recipe(exported.recipe, read)[None]
    marks.append(clock())
    # of a network that takes the region, the first: which one makes no difference
    outputs = engine.infer({IMAGE: prepared} | ({REGION: np.zeros(1, np.int64)} if REGION in given else {}))
    marks.append(clock())
    _answer(exported, outputs, read.shape[: prepared.ndim - 2])
    marks.append(clock())
    return np.diff(marks).tolist()


def _answer(exported: Exported, outputs: Outputs, size: tuple[int, ...]) -> None:
    """Decode the outputs of one image as `predict` does; of several heads those of the region that is found."""
    mixture, head = exported.info.mixture, exported.info.heads[0]
    logits = outputs.get(head.output)
    if mixture is not None and mixture.form == "router":
        found = answers_of(mixture, outputs, allow_out_of_region=True)
        head, logits = mixture.heads[int(found.region_N[0])], found.logits[found.region(0)]
    region = head.as_region()
    assert logits is not None
    if get_task(region.task).dense:
        decode_at(logits[0], size, exclusive=get_task(region.task).exclusive)
    elif not get_task(region.task).exclusive:
        multilabel.answers(head, logits[0])
    else:
        most_probable(region, logits, top=len(region.classes))


def _drawn(exported: Exported, folder: Path) -> Path:
    channels, *size = exported.shape
    if len(size) == 2:
        values = (seeded_inputs((channels, *PICTURE), 1)[0] * 255).astype(np.uint8)
        path = folder / "image.png"
        Image.fromarray(values[0] if channels == 1 else np.moveaxis(values[:3], 0, -1)).save(path)
        return path
    import nibabel

    values = (seeded_inputs((1, *(VOLUME * side for side in size)), 1)[0, 0] * 1000).astype(np.int16)
    path = folder / "volume.nii.gz"
    nibabel.save(nibabel.Nifti1Image(values, np.diag([*(exported.recipe.spacing or (1.0,) * 3), 1.0])), path)
    return path
