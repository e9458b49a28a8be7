"""What the site of `make docs` needs beside the pages of docs: a hook of mkdocs, named in mkdocs.yml.

The pages are written for the repository. Here they get the anchors that GitHub gives to headings, the files beside
docs that they link to, and links that fit the site.
"""

from __future__ import annotations

import atexit
import posixpath
import re
import shutil
import tempfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
BESIDE = ("CONTRIBUTING.md", "CHANGELOG.md", "examples/*/*.*", "examples/*/*/decompose.yaml")
LINK = re.compile(r"(\]\()([^)#\s:]+)(?=[)#])")


def slug(heading: str, separator: str = "-") -> str:
    """Return the anchor that GitHub gives to a heading, without the number that repeated headings get."""
    return re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", separator)


def to_site(path: str) -> str:
    """Return where a file of the repository is in the site: docs is its root, all others keep their path."""
    return path.removeprefix("docs/")


def relink(text: str, page: str) -> str:
    """Return a page of the repository with its links between files as they are between the same files of the site."""

    def link(match: re.Match[str]) -> str:
        target = posixpath.normpath(posixpath.join(posixpath.dirname(page), match[2]))
        return match[1] + posixpath.relpath(to_site(target), posixpath.dirname(to_site(page)) or ".")

    return LINK.sub(link, text)


def on_config(config: Any) -> Any:
    """Set the anchors, and where the sources are: lorkit is one package whose parts are folders beside each other."""
    config.mdx_configs["toc"]["slugify"] = slug
    sources = Path(tempfile.mkdtemp(prefix="lorkit-docs-"))
    atexit.register(shutil.rmtree, sources)
    (sources / "lorkit").mkdir()
    for part in [*(ROOT / "lorkit").glob("*.py"), *(ROOT / name for name in ("decompose", "export"))]:
        (sources / "lorkit" / part.name).symlink_to(part)
    config.plugins["mkdocstrings"].config.handlers["python"]["paths"] = [str(sources)]
    return config


on_config.mkdocs_priority = 100  # type: ignore[attr-defined]  # before mkdocstrings reads its paths


def on_files(files: Any, config: Any) -> Any:
    """Add the pages and examples beside docs that the pages link to."""
    from mkdocs.structure.files import File

    for path in sorted(path for pattern in BESIDE for path in ROOT.glob(pattern) if path.is_file()):
        name = path.relative_to(ROOT).as_posix()
        files.append(File(name, str(ROOT), config.site_dir, config.use_directory_urls))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Return a page with the links of the site."""
    name = page.file.src_uri
    return relink(markdown, name if (ROOT / name).is_file() else f"docs/{name}")
