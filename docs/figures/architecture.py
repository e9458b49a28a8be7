"""Draw the packages of lorkit and their imports: `python docs/figures/architecture.py` writes architecture.svg.

The order of the packages and the reading of imports are those of `tests/test_architecture.py`; what a box says is the
first sentence of its package. An arrow that a chain of other arrows implies is left out.
"""

from __future__ import annotations

import ast
import runpy
import sys
import textwrap
from dataclasses import dataclass
from pathlib import Path

from markupsafe import Markup

from lorkit.export.rendering.svg import figure, path, tag

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
sys.path.insert(0, str(ROOT / "tests" / "helpers"))
RULES = runpy.run_path(str(ROOT / "tests" / "test_architecture.py"))
DIRECTORIES = ("cli", "export", "profiles", "decompose")

WIDTH, BOX, MARGIN = 1000.0, 326.0, 90.0
LEFT, RIGHT = 60.0, WIDTH - MARGIN - BOX
HEIGHT, TOP, SPACE, LANE = 50.0, 20.0, 16.0, 11.0
STYLE = """
svg { background: #fff; font-family: Arial, "DejaVu Sans", sans-serif; font-size: 11.5px; }
rect { fill: #f6f8fa; stroke: #8c959f; } .cli { fill: #fff4e5; } .profiles { fill: #eef7ee; } .export { fill: #eaf2fb; }
.name { font-weight: bold; font-size: 13px; } .head { font-weight: bold; font-size: 15px; }
path { stroke: #57606a; stroke-width: 1.3; } circle { fill: #57606a; } .tip { fill: #57606a; stroke: none; }
"""

Name = tuple[str, ...]


@dataclass(frozen=True)
class Box:
    """A package, or a module beside the packages, and where it is drawn."""

    name: Name
    x: float
    y: float

    @property
    def bottom(self) -> float:
        """The lower edge."""
        return self.y + HEIGHT


def read_edges() -> dict[Name, set[Name]]:
    """Return which package imports which others; an import of a verb counts as one of the verb's package."""
    verbs = {(room,): RULES["facts_of"](ROOT / room / "__init__.py").taken for room in ("decompose", "export")}
    edges: dict[Name, set[Name]] = {}
    for source in RULES["SOURCES"]:
        own = _package(RULES["place_of"](source))
        for found, name in RULES["modules_imported"](source):
            other = _package(verbs.get(found, {}).get(name, found))
            if own and other and own != other:
                edges.setdefault(own, set()).add(other)
    return edges


def _package(place: Name) -> Name | None:
    if not place or place[0] not in DIRECTORIES:
        return None
    if place[0] in RULES["ORDER"]:
        return place[:2] if len(place) > 1 else None
    return place[:1]


def without_implied(edges: dict[Name, set[Name]]) -> dict[Name, set[Name]]:
    """Leave out every edge that a longer way implies (the transitive reduction of a graph without cycles)."""

    def reached(start: Name) -> set[Name]:
        return {start}.union(*(reached(name) for name in edges.get(start, ())))

    return {
        start: {end for end in ends if not any(end in reached(other) for other in ends - {end})}
        for start, ends in edges.items()
    }


def place_boxes(edges: dict[Name, set[Name]]) -> dict[Name, Box]:
    """Put `export` to the left and `decompose` to the right, so low that every arrow between them falls."""
    boxes = dict(_column([("cli",), *_members("export"), ("profiles",)], LEFT, TOP))
    right = dict(_column(_members("decompose"), RIGHT, TOP))
    between = [(boxes[a], right[b]) for a, ends in edges.items() for b in ends if a in boxes and b in right]
    lower = max(a.bottom - b.y for a, b in between)
    return boxes | {name: Box(name, box.x, box.y + lower) for name, box in right.items()}


def _members(room: str) -> list[Name]:
    return [(room, name) for name in RULES["ORDER"][room] if _source((room, name)).is_file()]


def _source(name: Name) -> Path:
    module = ROOT.joinpath(*name)
    return module / "__init__.py" if module.is_dir() else module.with_suffix(".py")


def _column(names: list[Name], x: float, y: float) -> list[tuple[Name, Box]]:
    return [(name, Box(name, x, y + row * (HEIGHT + SPACE))) for row, name in enumerate(names)]


def draw_box(box: Box) -> list[Markup]:
    """Draw a package with its name and what it is for."""
    purpose = str(ast.get_docstring(ast.parse(_source(box.name).read_text(encoding="utf-8")))).split(".\n")[0]
    lines = textwrap.wrap(purpose.splitlines()[0].rstrip(".").replace("`", ""), 48)
    assert len(lines) <= 2, f"the first sentence of {'/'.join(box.name)} does not fit its box"
    parts = [tag("rect", x=box.x, y=box.y, width=BOX, height=HEIGHT, rx=5, class_=box.name[0])]
    parts.append(tag("text", "/".join(box.name), x=box.x + 9, y=box.y + 17, class_="name"))
    return parts + [tag("text", line, x=box.x + 9, y=box.y + 31 + 13 * row) for row, line in enumerate(lines)]


def draw_arrows(edges: dict[Name, set[Name]], boxes: dict[Name, Box]) -> list[Markup]:
    """Draw neighbours by a straight arrow, all others by one line down beside the boxes for every target."""
    parts: list[Markup] = []
    lanes: dict[str, list[list[tuple[float, float]]]] = {"left": [], "middle": [], "right": []}
    for target in sorted(boxes.values(), key=lambda box: box.y):
        sources = [boxes[name] for name in boxes if target.name in edges.get(name, ())]
        for side in lanes:
            group = [box for box in sources if _side(box, target) == side]
            if group:
                parts += _line_down(group, target, side, _lane(lanes[side], min(b.y for b in group), target.bottom))
        near = [box for box in sources if _side(box, target) == "above"]
        parts += [_arrow([(b.x + BOX / 2, b.bottom), (b.x + BOX / 2, target.y)]) for b in near]
    return parts


def _side(source: Box, target: Box) -> str:
    if source.x != target.x:
        return "middle"
    if target.y - source.bottom <= SPACE:
        return "above"
    return "left" if source.x == LEFT else "right"


def _lane(taken: list[list[tuple[float, float]]], top: float, bottom: float) -> int:
    """Take the first lane that is free between two heights."""
    for index, spans in enumerate(taken):
        if all(end < top or start > bottom for start, end in spans):
            spans.append((top, bottom))
            return index
    taken.append([(top, bottom)])
    return len(taken) - 1


def _line_down(sources: list[Box], target: Box, side: str, lane: int) -> list[Markup]:
    edge = {"left": LEFT, "middle": LEFT + BOX, "right": RIGHT + BOX}[side]
    x = edge + (-1 if side == "left" else 1) * LANE * (lane + 1.2)
    end = RIGHT if side == "middle" else edge
    starts = sorted(box.bottom - 5 - 3 * lane for box in sources)
    parts = [path([(edge, y), (x, y)]) for y in starts]
    parts += [tag("circle", cx=x, cy=y, r=2) for y in starts[1:]]
    into = target.y + 6 + (0 if side == "middle" else 3 * lane) % (HEIGHT - 10)
    return [*parts, _arrow([(x, starts[0]), (x, into), (end, into)])]


def _arrow(points: list[tuple[float, float]]) -> Markup:
    (x0, y0), (x, y) = points[-2:]
    turn = 90 if x == x0 and y > y0 else 180 if x < x0 else 0
    tip = tag("path", d="M0 0L-7 -3.5L-7 3.5Z", class_="tip", transform=f"translate({x:.1f} {y:.1f}) rotate({turn})")
    return path(points) + tip


def draw() -> str:
    """Return the drawing as a file of its own."""
    edges = without_implied(read_edges())
    boxes = place_boxes(edges)
    height = max(box.bottom for box in boxes.values()) + TOP
    notes = (
        "Boxes stand in the order of tests/test_architecture.py.",
        "An arrow is an import. Arrows only point down.",
        "An import that a chain of arrows implies has no arrow.",
    )
    body = [tag("style", Markup(STYLE)), tag("text", "Packages of lorkit", x=RIGHT, y=30, class_="head")]
    body += [tag("text", line, x=RIGHT, y=52 + 16 * row) for row, line in enumerate(notes)]
    body += draw_arrows(edges, boxes)
    for box in boxes.values():
        body += draw_box(box)
    text = f"{len(boxes)} packages and modules; each imports only packages below it."
    drawn = str(figure("architecture", "Packages of lorkit", text, (WIDTH, height), body))
    return drawn.replace("<svg ", '<svg xmlns="http://www.w3.org/2000/svg" ', 1) + "\n"


if __name__ == "__main__":
    (HERE / "architecture.svg").write_text(draw(), encoding="utf-8")
