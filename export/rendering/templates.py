"""The Jinja environment: strict names, no blank lines, and the filters of this package."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from lorkit.export.rendering.formatting import FILTERS

if TYPE_CHECKING:
    import jinja2


@cache
def environment(folder: Path, *, autoescape: bool = False) -> jinja2.Environment:
    """Return the environment for the templates in a folder, with HTML escaping on request.

    It keeps compiled templates: compiling one takes longer than rendering it, and an export renders several.
    """
    import jinja2  # of the modules that render, most calls render nothing

    found = jinja2.Environment(
        loader=jinja2.FileSystemLoader(folder),
        autoescape=autoescape,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    found.filters.update(FILTERS)
    return found
