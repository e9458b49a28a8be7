"""Draw the figures of docs/benchmarks from the tables of its pages: `python docs/figures/benchmarks.py` writes them.

A figure shows columns of tables: a dot for a number, a line for its interval. So a figure never says anything else than
its page. A new figure is one more row of `FIGURES`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from markupsafe import Markup

from lorkit.export.rendering.svg import COLOURS, Scale, figure, label, tag

HERE = Path(__file__).parent
PAGES = HERE.parent / "benchmarks"
WIDTH, PLOT, MARGIN, ROW, TOP, BOTTOM = 760.0, 420.0, 20.0, 18.0, 40.0, 44.0
NAMES = WIDTH - PLOT
STYLE = """
svg { background: #fff; font-family: Arial, "DejaVu Sans", sans-serif; font-size: 12px; } text { fill: #24292f; }
.tick { font-size: 11px; fill: #57606a; } .grid { stroke: #e3e6ea; } .line { stroke: #57606a; stroke-dasharray: 4 3; }
"""
NUMBER = re.compile(r"-?[\d,]*\.?\d+")


@dataclass(frozen=True, kw_only=True)
class Series:
    """Values of one column of a table.

    Attributes:
        heading: Of the section of the page; its `table`-th table is read.
        column: The column with the values, such as `0.53 [0.49, 0.57]`.
        rows: Names of the rows to show, in this order; without them all rows that have a value.
        naming: How many of the first cells are the name of a row.
        name: Of the series, where a figure has several; in place of the row if stacked.
        table: Which table of the section, from 0.
        index: Which number of a cell that has several, such as `29% / 47%`.
        sign: -1 draws the values with the other sign.
    """

    heading: str
    column: str
    rows: tuple[str, ...] = ()
    naming: int = 1
    name: str = ""
    table: int = 0
    index: int = 0
    sign: int = 1


@dataclass(frozen=True, kw_only=True)
class Figure:
    """A figure of a page.

    Attributes:
        name: Of its file.
        page: Of docs/benchmarks, without `.md`.
        title: Above the figure.
        axis: What the numbers are.
        series: Shown in colours of their own, or below each other with `stacked`.
        line: Value of a dashed line, such as no difference.
        stacked: Whether each series gives one row, named by the series.
    """

    name: str
    page: str
    title: str
    axis: str
    series: tuple[Series, ...]
    line: float | None = None
    stacked: bool = False


@dataclass(frozen=True)
class Point:
    """A value, its interval if it has one, and the series that it belongs to."""

    name: str
    value: float
    bounds: tuple[float, float] | None
    series: int


_PROTOCOLS = "idle: the same / +5 % / +10 %"
_OURS = "AP of `ragformer-default` minus this one's"
_SMALL = "AP of `ragformer` minus this one's"
_GRAPHS = (
    ("tolokers (real, one relation), the parts of its split 0", _OURS, "tolokers, its own parts"),
    ("tolokers, a random split", _OURS, "tolokers, random parts"),
    ("tolokers, no training node within two hops of a test node", _OURS, "tolokers, two hops apart"),
    ("FDCompCN (real, three relations), the parts of its file", _OURS, "FDCompCN, its own parts"),
    ("FDCompCN, a random split", _OURS, "FDCompCN, random parts"),
    ("FDCompCN, no training node within two hops of a test node", _OURS, "FDCompCN, two hops apart"),
    ("S-FFSD (simulated, four shared keys and time), the latest rows as test part", _SMALL, "S-FFSD, by time"),
    ("S-FFSD (simulated), the payers of the test part are new", _SMALL, "S-FFSD, by payer"),
    ("S-FFSD (simulated), a random split", _SMALL, "S-FFSD, random parts"),
)
FIGURES = (
    Figure(
        name="published",
        page="teaching",
        title="Methods with and without published weights: five regions, a quarter of the patients",
        axis="balanced accuracy above a network for each region (stl), with 95 % interval",
        series=(
            Series(heading="Published weights", column="gain over `stl`", name="from ImageNet"),
            Series(heading="Published weights", column="gain over `stl`", table=1, name="from random weights"),
        ),
        line=0.0,
    ),
    Figure(
        name="teaching",
        page="teaching",
        title="What a teacher adds to a small network: brain MRI, 5 % of the patients with labels",
        axis="balanced accuracy above the student alone, with 95 % interval",
        series=(Series(heading="Images without labels", column="gain over `stl`"),),
        line=0.0,
    ),
    Figure(
        name="training",
        page="training",
        title="Training step with experts of eight regions",
        axis="times the step of the plain network (dashed: goal of ResNet-18)",
        series=(
            Series(
                heading="What experts cost in training", column="every layer: one thread", naming=2, name="one thread"
            ),
            Series(heading="What experts cost in training", column="two threads", naming=2, name="two threads"),
        ),
        line=1.15,
    ),
    Figure(
        name="commands",
        page="commands",
        title="The five commands on built-in phantoms, two cores",
        axis="seconds",
        series=(
            Series(heading="The five commands of the README, from an empty directory", column="seconds", name="wall"),
            Series(
                heading="The five commands of the README, from an empty directory", column="CPU seconds", name="CPU"
            ),
        ),
    ),
    Figure(
        name="routing",
        page="routing",
        title="MoLA-Grad beside other methods, five regions, a quarter of the patients",
        axis="balanced accuracy of mola-grad minus that of the method, with 95 % interval",
        series=(Series(heading="Five regions", column="mean", table=1),),
        line=0.0,
    ),
    Figure(
        name="graphs",
        page="graphs",
        title="Gradient boosting on the same tokens minus RAGFormer",
        axis="difference of average precision, with 95 % interval (above 0: trees are better)",
        series=tuple(
            Series(heading=heading, column=column, rows=("`trees-tokens`",), name=name, sign=-1)
            for heading, column, name in _GRAPHS
        ),
        line=0.0,
        stacked=True,
    ),
    Figure(
        name="engines",
        page="engines",
        title="Speed of engines of a ResNet-18, batch 1, one thread",
        axis="times PyTorch with the same network",
        series=(
            Series(heading="Engines for one expert", column="times PyTorch", name="224 x 224 pixels"),
            Series(heading="Engines for one expert", column="times PyTorch", name="64 x 64 pixels", table=1),
        ),
        line=1.0,
    ),
    Figure(
        name="volumes",
        page="volumes",
        title="Memory of a whole head at 0.8 mm with 12 outputs, window by window",
        axis="MiB above the interpreter",
        series=(Series(heading="A whole head at 0.8 mm, window by window", column="MiB above the interpreter"),),
    ),
    Figure(
        name="gate",
        page="gate",
        title="False alarms: equal networks that a protocol calls slower, idle machine",
        axis="share of windows of 300 cycles (%)",
        series=(Series(heading="How often the gate's latency verdict is right", column=_PROTOCOLS, table=2),),
    ),
)


def tables(page: str) -> dict[str, list[list[dict[str, str]]]]:
    """Return the tables of a page by heading: rows of cells by the name of the column, and by its number."""
    found: dict[str, list[list[dict[str, str]]]] = {}
    heading, columns = "", None
    for line in (PAGES / f"{page}.md").read_text(encoding="utf-8").splitlines():
        if line.startswith("#"):
            heading = line.lstrip("# ")
        if not line.startswith("|"):
            columns = None
            continue
        cells = [cell.strip() for cell in line.strip().strip("|").split("|")] if line != "|" else []
        if columns is None:
            columns = cells
            found.setdefault(heading, []).append([])
        elif set(line) - set("|-: "):
            # the first of two columns of one name is meant
            row = dict(reversed(list(zip(columns, cells, strict=False))))
            found[heading][-1].append({**row, **{str(index): cell for index, cell in enumerate(cells)}})
    return found


def _name(row: dict[str, str], series: Series) -> str:
    return ", ".join(row[str(index)] for index in range(series.naming))


def points(drawing: Figure) -> list[Point]:
    """Return the points of a figure, by row and series."""
    pages, found = tables(drawing.page), []
    for number, series in enumerate(drawing.series):
        rows = {_name(row, series): row for row in pages[series.heading][series.table]}
        for name in series.rows or rows:
            cell = rows[name][series.column]
            values = [float(value.replace(",", "")) for value in NUMBER.findall(cell)]
            if not values:
                continue
            bounds = sorted(series.sign * value for value in values[1:3]) if "[" in cell else None
            shown = series.name if drawing.stacked else name.replace("`", "")
            value = series.sign * values[series.index]
            found.append(Point(shown, value, bounds and (bounds[0], bounds[1]), 0 if drawing.stacked else number))
    return found


def draw(drawing: Figure) -> str:
    """Return a figure as an SVG file."""
    shown = points(drawing)
    names = list(dict.fromkeys(point.name for point in shown))
    values = [value for point in shown for value in (point.value, *(point.bounds or ()))]
    values += [] if drawing.line is None else [drawing.line]
    margin = 0.04 * (max(values) - min(values))
    x = Scale((min(values) - margin, max(values) + margin), (NAMES, WIDTH - MARGIN))
    bottom = TOP + ROW * len(names)
    body = [tag("style", Markup(STYLE)), tag("text", drawing.title, x=MARGIN, y=20, font_weight="bold")]
    body += _axis(x, bottom, drawing)
    several = len({point.series for point in shown}) > 1
    height = {name: TOP + ROW * (index + 0.5) for index, name in enumerate(names)}
    body += [tag("text", name, x=NAMES - 12, y=height[name] + 4, text_anchor="end") for name in names]
    for point in shown:
        body += _mark(point, x, height[point.name] + (5 * (point.series - 0.5) if several else 0))
    if several:
        body += _legend([one.name for one in drawing.series])
    said = "; ".join(f"{point.name}: {label(point.value)}" for point in shown)
    drawn = figure(f"benchmark-{drawing.name}", drawing.title, said, (WIDTH, bottom + BOTTOM), body)
    return str(drawn).replace("<svg ", '<svg xmlns="http://www.w3.org/2000/svg" ', 1) + "\n"


def _axis(x: Scale, bottom: float, drawing: Figure) -> Iterator[Markup]:
    for value in x.ticks(6):
        yield tag("line", x1=x(value), x2=x(value), y1=TOP, y2=bottom, class_="grid")
        yield tag("text", label(value), x=x(value), y=bottom + 16, class_="tick", text_anchor="middle")
    if drawing.line is not None:
        yield tag("line", x1=x(drawing.line), x2=x(drawing.line), y1=TOP, y2=bottom, class_="line")
    yield tag("text", drawing.axis, x=(NAMES + WIDTH - MARGIN) / 2, y=bottom + 34, class_="tick", text_anchor="middle")


def _mark(point: Point, x: Scale, y: float) -> Iterator[Markup]:
    colour = COLOURS[point.series]
    if point.bounds:
        yield tag("line", x1=x(point.bounds[0]), x2=x(point.bounds[1]), y1=y, y2=y, stroke=colour, stroke_width=1.6)
    yield tag("circle", cx=x(point.value), cy=y, r=3.6, fill=colour)


def _legend(names: Sequence[str]) -> Iterator[Markup]:
    for index, name in enumerate(names):
        at = WIDTH - MARGIN - 130.0 * (len(names) - index)
        yield tag("circle", cx=at, cy=30.0, r=3.6, fill=COLOURS[index])
        yield tag("text", name, x=at + 8, y=34, class_="tick")


def main() -> None:
    """Write all figures."""
    for drawing in FIGURES:
        (HERE / f"benchmark-{drawing.name}.svg").write_text(draw(drawing), encoding="utf-8")


if __name__ == "__main__":
    main()
