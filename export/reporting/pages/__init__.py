"""The pages of a report: one HTML file and one of Markdown, drawn from the report's document alone."""

from lorkit.export.reporting.pages.rendering import SOURCES, render_html, render_markdown

__all__ = ["SOURCES", "render_html", "render_markdown"]
