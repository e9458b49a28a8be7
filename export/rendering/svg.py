"""A small kit for inline SVG: escaped elements, scales with round ticks, and accessible figures.

Colours are CSS classes and custom properties of the page, so one drawing serves light, dark and print.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from markupsafe import Markup, escape


def tag(name: str, *content: str, **attributes: object) -> Markup:
    """Build an element; text and attribute values are escaped, `Markup` passes; `class_` and `stroke_width` work."""
    pairs = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{escape(_plain(value))}"'
        for key, value in attributes.items()
        if value is not None
    )
    inner = Markup("").join(escape(part) for part in content)
    return Markup(f"<{name}{pairs}>{inner}</{name}>" if inner else f"<{name}{pairs}/>")


def figure(
    key: str, title: str, description: str, size: tuple[float, float], body: Iterable[str], *, role: str = "img"
) -> Markup:
    """Wrap drawn elements into an image with a name and a description.

    Args:
        key: Unique in the page; letters, digits and hyphens.
        title: Short name.
        description: Description for people who cannot see it.
        size: Width and height of the drawing; it scales with its container.
        body: Elements.
        role: "img", or "group" if the body has links, which a screen reader must reach.
    """
    head = [tag("title", title, id=f"{key}-t"), tag("desc", description, id=f"{key}-d")]
    return tag(
        "svg",
        *head,
        *body,
        viewBox=f"0 0 {_plain(size[0])} {_plain(size[1])}",
        role=role,
        aria_labelledby=f"{key}-t {key}-d",
        class_="chart",
    )


@dataclass(frozen=True)
class Scale:
    """Maps values to pixels, linear or logarithmic."""

    domain: tuple[float, float]
    pixels: tuple[float, float]
    log: bool = False

    def __call__(self, value: float) -> float:
        """Return the pixel of a value."""
        low, high, at = (math.log(x) if self.log else x for x in (*self.domain, value))
        share = (at - low) / (high - low) if high > low else 0.5
        return self.pixels[0] + share * (self.pixels[1] - self.pixels[0])

    def clipped(self, value: float) -> float:
        """Return the pixel of a value, clipped to the domain."""
        return self(min(max(value, self.domain[0]), self.domain[1]))

    def ticks(self, count: int = 5) -> list[float]:
        """Return round values inside the domain, about `count` of them."""
        return _log_ticks(self.domain) if self.log else _linear_ticks(self.domain, count)


@dataclass(frozen=True)
class Plot:
    """An area with two axes: horizontal grid lines, tick labels, axis titles.

    `x_labels` are labels by value, in place of round values.
    """

    x: Scale
    y: Scale
    x_title: str
    y_title: str
    x_count: int = 5
    y_count: int = 4
    x_labels: Mapping[float, str] | None = None

    def axes(self) -> list[Markup]:
        """Draw grid, ticks and titles."""
        (left, right), (bottom, top) = self.x.pixels, self.y.pixels
        parts = [tag("line", x1=left, x2=right, y1=bottom, y2=bottom, class_="axis")]
        for value in self.y.ticks(self.y_count):
            at = self.y(value)
            parts.append(tag("line", x1=left, x2=right, y1=at, y2=at, class_="grid"))
            parts.append(tag("text", label(value), x=left - 6, y=at + 3.5, class_="tick", text_anchor="end"))
        labels = self.x_labels if self.x_labels is not None else {at: label(at) for at in self.x.ticks(self.x_count)}
        for value, text in labels.items():
            parts.append(tag("line", x1=self.x(value), x2=self.x(value), y1=bottom, y2=bottom + 4, class_="axis"))
            parts.append(tag("text", text, x=self.x(value), y=bottom + 15, class_="tick", text_anchor="middle"))
        middle = (left + right) / 2
        parts.append(tag("text", self.x_title, x=middle, y=bottom + 30, class_="name", text_anchor="middle"))
        parts.append(tag("text", self.y_title, x=left - 34, y=top - 8, class_="name"))
        return parts


def path(points: Sequence[tuple[float, float]], **attributes: object) -> Markup:
    """Draw straight lines through pixels."""
    steps = " ".join(f"{'ML'[index > 0]}{x:.1f} {y:.1f}" for index, (x, y) in enumerate(points))
    return tag("path", d=steps, fill="none", **attributes)


def spread_labels(wanted: Sequence[float], gap: float, limits: tuple[float, float]) -> list[float]:
    """Move label positions apart until neighbours are `gap` apart, keeping their order, inside `limits`."""
    order = sorted(range(len(wanted)), key=lambda index: wanted[index])
    placed = list(wanted)
    floor = limits[0]
    for index in order:
        placed[index] = floor = max(placed[index], floor)
        floor += gap
    ceiling = limits[1]
    for index in reversed(order):
        placed[index] = ceiling = min(placed[index], ceiling)
        ceiling -= gap
    return placed


def label(value: float) -> str:
    """Return a tick label without trailing zeros."""
    return f"{value:.6g}"


def _plain(value: object) -> str:
    return f"{value:.2f}".rstrip("0").rstrip(".") if isinstance(value, float) else str(value)


def _linear_ticks(domain: tuple[float, float], count: int) -> list[float]:
    low, high = domain
    if not high > low:
        return [low]
    raw = (high - low) / max(1, count)
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= raw * 0.999)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [round(index * step, 10) for index in range(first, last + 1)]


def _log_ticks(domain: tuple[float, float]) -> list[float]:
    low, high = domain
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for factors in ((1, 2, 5), (1, 3), (1,)):
        ticks = [factor * 10.0**power for power in powers for factor in factors]
        inside = [tick for tick in ticks if low * 0.999 <= tick <= high * 1.001]
        if len(inside) <= 6:
            return inside
    return inside


WIDTH, HEIGHT = 640.0, 400.0
LEFT, RIGHT, TOP, BOTTOM = 52.0, 150.0, 34.0, 46.0
X, Y = (LEFT, WIDTH - RIGHT), (HEIGHT - BOTTOM, TOP)
_NAMES = WIDTH - RIGHT + 12
# Distinguishable with colour blindness, and set here because a separate file has no style sheet.
_STYLE = """
svg { background: #fff; font-family: Arial, "DejaVu Sans", sans-serif; font-size: 11px; }
text { stroke: none; } .tick { font-size: 10px; fill: #57606a; } .name { font-size: 11px; fill: #57606a; }
.axis { stroke: #57606a; } .grid { stroke: #e3e6ea; } .bar { stroke-width: 1.6; } .leader { stroke: #b6bec7; }
.solid { stroke: #fff; } .mark { font-size: 12px; fill: #b42318; }
"""
COLOURS = ("#0b62a8", "#b5480f", "#137a4b", "#7a3fa0", "#8a6d00", "#b3245f", "#00778a", "#555d66")
FOUNDATION = "#24292f"


def sheet(title: str, said: str, body: Sequence[Markup], *, height: float = HEIGHT) -> str:
    """Return a drawing as a separate file."""
    style = tag("style", Markup(_STYLE))
    drawn = str(figure("comparison", title, said, (WIDTH, height), [style, *body]))
    # a separate file needs the namespace that an inline drawing inherits
    return drawn.replace("<svg ", '<svg xmlns="http://www.w3.org/2000/svg" ', 1) + "\n"


def watermark(synthetic: bool, *, nodes: bool = False) -> list[Markup]:
    """Return the watermark of results on phantoms, or on simulated nodes of graphs."""
    text = "SYNTHETIC: simulated data" if nodes else "SYNTHETIC: drawn phantoms, not patients"
    return [tag("text", text, x=WIDTH - RIGHT, y=TOP - 8, class_="mark", text_anchor="end")] if synthetic else []


def label_gap(labels: int) -> float:
    """Return the distance of labels beside a drawing: one line, or less if there are many."""
    return min(13.0, (HEIGHT - BOTTOM - TOP) / labels)


def side_label(end: tuple[float, float], place: tuple[float, float], text: str, colour: str) -> tuple[Markup, Markup]:
    """Return a dashed line from `end`, and a text beside the drawing at `place`: its height, and the gap of labels."""
    height, gap = place
    size = min(11.0, gap)
    leader = path([end, (_NAMES - 4, height)], class_="leader", stroke_dasharray="1 3")
    return leader, tag("text", text, x=_NAMES, y=height + size / 3, font_size=size, fill=colour)


def shorten(label: str, most: int = 15) -> str:
    """Shorten a label to the space beside the drawing."""
    return label if len(label) <= most else f"{label[: most - 3]}..."
