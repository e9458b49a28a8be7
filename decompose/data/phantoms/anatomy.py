"""Drawn anatomy and its diseases: a chest film, a brain slice, a breast ultrasound and a knee film.

The regions conflict by design. The same bright blob is a nodule in the chest, a harmless vessel in the brain, the
calcification of a malignant lesion in the breast and a harmless fabella in the knee; the same dark band is a skin fold
in the chest, a sulcus in the brain, a ligament's shadow in the breast and a fracture in the knee. Every region shows
blobs and bands, so a shared network must both use and ignore them, which separate experts need not.

Shapes as in `canvas`: fields (N, H, W), parameters and masks of classes (N, 1, 1).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from lorkit.decompose.data.phantoms.canvas import Canvas, Field

_NOISE = 0.035


class Anatomy(NamedTuple):
    """A region's classes in output order, its modality, and the function that draws it.

    `draw` takes a blank canvas and one (N, 1, 1) field per class that is 1 for samples of that class. `structures` are
    those that it marks.
    """

    classes: tuple[str, ...]
    modality: str
    draw: Callable[[Canvas, tuple[Field, ...]], None]
    structures: tuple[str, ...] = ()


def blob(canvas: Canvas, shown: Field, x: Field, y: Field, strength: Field) -> None:
    """Add the bright round blob that all regions share."""
    size = canvas.draws("blob.size", 0.19, 0.27)
    canvas.add(canvas.blob(x, y, size) * shown, strength)


def band(canvas: Canvas, shown: Field, x: Field, y: Field, strength: Field) -> None:
    """Add the dark straight band that all regions share."""
    slope = canvas.draws("band.slope", 0.4, 1.6) * canvas.draws.side("band.side")
    width = canvas.draws("band.width", 0.07, 0.1)
    canvas.add(canvas.band(x, y, slope, width, canvas.draws("band.length", 0.34, 0.46)) * shown, -strength)


def grain(canvas: Canvas, amount: float) -> None:
    """Add detector noise, and an exposure that varies between images."""
    exposure = canvas.draws("exposure", 0.9, 1.1, of="picture")
    canvas.image = canvas.image * exposure + canvas.noise("noise") * np.float32(amount)


def chest(canvas: Canvas, has: tuple[Field, ...]) -> None:
    """Chest film: effusion is a bright pool above a diaphragm, nodule a blob in a lung."""
    d, u, v = canvas.draws, canvas.u, canvas.v
    _, effusion, nodule = has
    body = canvas.ellipse(0, 0.25, d("body.width", 0.92, 1.02), 1.3)
    canvas.paint(body, 0.62 + 0.04 * canvas.texture("tissue"))
    width, height = d("lung.width", 0.34, 0.4), d("lung.height", 0.62, 0.72)
    lungs = np.maximum(canvas.ellipse(-0.44, -0.05, width, height), canvas.ellipse(0.44, -0.05, width, height))
    floor = d("floor", 0.38, 0.5) + 0.35 * (np.abs(u) - 0.42) * (np.abs(u) - 0.42) * 4
    lungs = lungs * canvas.step(floor - v, 12)
    canvas.paint(lungs, d("lung.value", 0.2, 0.28) + 0.05 * canvas.texture("vessels"))
    ribs = canvas.wave(v * d("rib.rate", 3.1, 3.7) + u * u * 1.6 + d("rib.phase", 0, 1))
    canvas.add(canvas.step(ribs - 0.62, 4) * lungs, 0.11)
    canvas.paint(canvas.ellipse(0, 0, 0.085, 2, 2), 0.74)  # spine
    heart = canvas.ellipse(d("heart.x", 0.08, 0.16), 0.22, d("heart.width", 0.26, 0.33), 0.3, 4)
    canvas.paint(heart, 0.72)
    canvas.mark("lungs", lungs)
    canvas.mark("heart", heart)
    side = d.side("side")
    x, y = side * d("fold.x", 0.3, 0.5), d("fold.y", -0.3, 0.1)
    band(canvas, d.chance("fold", 0.4), x, y, d("fold.depth", 0.15, 0.3))
    rise = d("pool.rise", 0.16, 0.48)
    outer = side * u
    level = floor - rise - 0.5 * _positive(outer - 0.5)  # the meniscus climbs at the chest wall
    pool = canvas.step(v - level, 9) * canvas.step(outer - 0.12, 9) * body
    canvas.paint(pool * effusion, 0.62)
    blob(canvas, nodule, -side * d("nodule.x", 0.3, 0.56), d("nodule.y", -0.42, 0.22), d("nodule.depth", 0.28, 0.56))
    grain(canvas, _NOISE)


def brain(canvas: Canvas, has: tuple[Field, ...]) -> None:
    """Brain slice: glioma is a dark core with a ragged rim, meningioma a bright cap at the skull."""
    d, u, v = canvas.draws, canvas.u, canvas.v
    _, glioma, meningioma = has
    width, height = d("head.width", 0.72, 0.8), d("head.height", 0.86, 0.94)
    canvas.paint(canvas.ellipse(0, 0, width, height, 9), 0.82)
    canvas.paint(canvas.ellipse(0, 0, width - 0.07, height - 0.07, 12), 0.06)
    inside = canvas.ellipse(0, 0, width - 0.13, height - 0.13, 10)
    canvas.paint(inside, 0.42 + 0.05 * canvas.texture("gyri"))
    canvas.paint(canvas.ellipse(0, 0.02, width - 0.3, height - 0.3, 3), 0.55 + 0.04 * canvas.texture("white"))
    canvas.add(canvas.ellipse(0, 0, 0.03, height - 0.16, 3) * inside, -0.2)  # the fissure between the halves
    horn, lift = d("horn", 0.06, 0.1), d("horn.lift", 0.2, 0.3)
    bent = np.abs(u) - 0.09 - 0.25 * v * v
    canvas.paint(canvas.step(1 - (bent / horn) * (bent / horn) - (v / lift) * (v / lift), 4), 0.14)  # ventricles
    x, y = d("sulcus.x", -0.4, 0.4), d("sulcus.y", -0.5, 0.5)
    band(canvas, d.chance("sulcus", 0.3), x, y, d("sulcus.depth", 0.12, 0.22))
    side = d.side("side")
    x, y = -side * d("vessel.x", 0.12, 0.42), d("vessel.y", -0.45, 0.45)
    blob(canvas, d.chance("vessel", 0.35) * inside, x, y, d("vessel.depth", 0.15, 0.35))
    x, y = side * d("mass.x", 0.24, 0.38), d("mass.y", -0.42, 0.42)
    ragged = canvas.radius(x, y, d("mass.width", 0.24, 0.34), d("mass.height", 0.24, 0.34))
    ragged = ragged + 0.5 * canvas.texture("ragged")
    depth = d("mass.depth", 0.24, 0.42)
    canvas.add(canvas.step(1 - ragged, 2.5) * inside * glioma, -depth)
    canvas.add(_positive(1 - 6 * (ragged - 0.9) * (ragged - 0.9)) * inside * glioma, 1.4 * depth)
    tall, reach = d("cap.height", 0.22, 0.34), d("cap.reach", 0.22, 0.32)
    where = d("cap.y", -0.4, 0.4)
    wall = side * (width - 0.13) * np.sqrt(1 - where * where)
    cap = canvas.ellipse(wall, where * (height - 0.13), reach, tall, 3)
    canvas.add(cap * inside * meningioma, d("cap.depth", 0.26, 0.5))
    grain(canvas, _NOISE)


def breast(canvas: Canvas, has: tuple[Field, ...]) -> None:
    """Breast ultrasound: benign is a smooth wide oval, malignant a ragged tall one with calcification."""
    d, v = canvas.draws, canvas.v
    _, benign, malignant = has
    layer = v + 0.12 * canvas.texture("layers")
    canvas.image += 0.34 + 0.07 * canvas.texture("gland")
    canvas.paint(canvas.step(-0.5 - layer, 8), 0.24)  # fat
    canvas.paint(canvas.step(d("muscle", 0.55, 0.7) * -1 + layer, 8), 0.3 + 0.2 * canvas.wave(layer * 5))  # muscle
    canvas.paint(canvas.step(-0.86 - v, 10), 0.8)  # skin
    x, y = d("shadow.x", -0.6, 0.6), d("shadow.y", -0.2, 0.5)
    band(canvas, d.chance("shadow", 0.4), x, y, d("shadow.depth", 0.1, 0.18))
    x, y = d("lesion.x", -0.4, 0.4), d("lesion.y", -0.25, 0.25)
    size, lesion = d("lesion.size", 0.2, 0.32), benign + malignant
    # Wide or tall: the two distributions overlap, as in patients.
    ratio = benign * d("oval", 1.1, 1.8) + malignant * d("tall", 0.65, 1.15) + (1 - lesion)
    ragged = canvas.radius(x, y, size * ratio, size) + canvas.texture("spicules") * (malignant * d("ragged", 0.25, 0.6))
    depth = d("lesion.depth", 0.16, 0.32)
    canvas.add(canvas.step(1 - ragged, 3) * lesion, -depth)
    below = canvas.step(v - y - size, 8) * canvas.step(1 - np.abs((canvas.u - x) / (size * ratio)), 4)
    canvas.add(below * benign, 0.6 * depth)  # sound passes a cyst unweakened
    blob(canvas, malignant, x + d("chalk.x", -0.1, 0.1), y + d("chalk.y", -0.1, 0.1), d("chalk.depth", 0.2, 0.45))
    canvas.image *= 1 + 0.16 * canvas.noise("speckle")
    grain(canvas, 0.02)


def knee(canvas: Canvas, has: tuple[Field, ...]) -> None:
    """Knee film: arthrosis narrows the joint and adds spurs, fracture is a dark band in a bone."""
    d, u, v = canvas.draws, canvas.u, canvas.v
    _, arthrosis, fracture = has
    canvas.paint(canvas.ellipse(0, 0, d("leg.width", 0.84, 0.95), 2.4, 5), 0.3 + 0.04 * canvas.texture("muscle"))
    side = d.side("side")
    narrow = arthrosis * d("narrow", 0.35, 1.0)
    gap = d("gap", 0.085, 0.11) * (1 - narrow * (0.45 + 0.45 * side * u))
    shaft, flare = d("shaft", 0.3, 0.36), d("flare", 0.26, 0.32)
    joint = d("joint", -0.04, 0.06) + 0.05 * canvas.wave(np.abs(u) * 1.3 + 0.5)
    reach = shaft + flare * _positive(1 - np.abs(v) * 1.6)
    bones = canvas.step(reach - np.abs(u), 14) * canvas.step(np.abs(v - joint) - gap, 22)
    canvas.paint(bones, d("bone", 0.62, 0.7) + 0.06 * canvas.texture("marrow"))
    canvas.mark("bones", bones)
    canvas.add(bones * canvas.step(gap + 0.09 - np.abs(v - joint), 12), 0.08 + 0.08 * narrow)  # plates, thickened
    canvas.paint(canvas.ellipse(side * 0.62, 0.75, 0.1, 0.55, 3), 0.55)  # fibula
    canvas.add(canvas.ellipse(0, d("patella", -0.42, -0.32), 0.26, 0.24, 3), 0.07)
    spur = side * (shaft + flare + 0.02)
    canvas.paint(canvas.ellipse(spur, joint + 0.13, 0.1, 0.07, 2) * narrow, 0.75)
    y = d("fabella.y", -0.55, -0.25)
    blob(canvas, d.chance("fabella", 0.5), -side * d("fabella.x", 0.2, 0.55), y, d("fabella.depth", 0.2, 0.5))
    upper = d.side("break.bone")
    y = upper * d("break.y", 0.34, 0.62)
    band(canvas, fracture, d("break.x", -0.15, 0.15), y, d("break.depth", 0.2, 0.45))
    grain(canvas, _NOISE)


ANATOMIES = {
    "chest": Anatomy(("normal", "effusion", "nodule"), "xray", chest, ("lungs", "heart")),
    "brain": Anatomy(("normal", "glioma", "meningioma"), "mri", brain),
    "breast": Anatomy(("normal", "benign", "malignant"), "ultrasound", breast),
    "knee": Anatomy(("normal", "arthrosis", "fracture"), "xray", knee, ("bones",)),
}


def _positive(field: Field) -> Field:
    return np.maximum(field, 0.0)
