"""The page of a comparison: one HTML file in the design of the report, without network access."""

from __future__ import annotations

import base64
import shlex
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from lorkit.decompose.documents.compare import CompareDocument, MethodRow
from lorkit.decompose.evaluation.comparison.compared_methods import has_own_name
from lorkit.decompose.regions import words_of
from lorkit.export.rendering.tables import label_cells
from lorkit.export.rendering.templates import environment
from lorkit.export.reporting.comparison.forest import Forest, outcome
from lorkit.export.reporting.pages import style
from lorkit.export.reporting.pages.glossary import with_glossary

if TYPE_CHECKING:
    import jinja2

_HERE = Path(__file__).parent


def comparison_html(document: CompareDocument, pictures: Sequence[tuple[str, str]]) -> str:
    """Return a `compare` document as one HTML page.

    Args:
        document: The document.
        pictures: Title and SVG file of each chart.
    """
    fractions = sorted({pair.fraction for pair in document.compared_pairs}, reverse=True)
    page = (
        _environment()
        .get_template("comparison.html.jinja")
        .render(
            **dict(document),
            **style.page_style(),
            words=words_of("node" if document.nodes else "image"),
            in_words=document.metric_in_words,
            nodes=document.nodes,
            mean_of=document.mean_of,
            outcome=outcome,
            shade=style.shade,
            cases=_cases(document),
            forests={
                at: Forest(pair.mean_drop.ci for pair in document.compared_pairs if pair.fraction == at)
                for at in fractions
            },
            pictures=[(title, base64.b64encode(svg.encode()).decode()) for title, svg in pictures],
            commands=[command(document)],
        )
    )
    return label_cells(with_glossary(page))


@cache
def _environment() -> jinja2.Environment:
    found = environment(_HERE, autoescape=True)
    found.loader.searchpath.append(str(Path(style.__file__).parent))  # type: ignore[union-attr]
    return found


def command(document: CompareDocument) -> str:
    """Return the command that repeats a comparison, with every method, seed and fraction in it."""
    arms = document.arms
    # controls are added by their option; a student alone with settings has no name of its own
    controls = any(one.random_teacher for one in arms)
    own = [one for one in arms if not one.random_teacher and not (controls and one.label.endswith("-student-alone"))]
    named = [one for one in own if has_own_name(one.label)]
    methods, variants = [one.label for one in named], [_variant(one) for one in own if one not in named]
    seeds, fractions = ({getattr(row, name) for row in document.rows} for name in ("seed", "fraction"))
    words = ["decompose", "compare", f"comparisons/{document.id}/config.yaml"]
    words += ["--methods", ",".join(methods)] if methods else []
    words += [word for one in variants for word in ("--variant", one)]
    words += ["--seeds", ",".join(str(seed) for seed in sorted(seeds))]
    words += ["--fractions", ",".join(f"{fraction:g}" for fraction in sorted(fractions))]
    words += ["--split", document.split, "--budget", document.equal_budget]
    return shlex.join(words + (["--controls"] if controls else []))


def _variant(arm: MethodRow) -> str:
    return f"{arm.label}:{arm.method}:{','.join(arm.settings)}"


def _cases(document: CompareDocument) -> dict[str, tuple[int, int]]:
    """Return the scored cases and groups of each region."""
    found: dict[str, tuple[int, int]] = {}
    for row in document.rows:
        for name, figures in row.regions.items():
            found.setdefault(name, (figures.n, figures.groups))
    return found
