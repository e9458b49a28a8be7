"""The pages of a report: one HTML file and one of Markdown, from the report's document alone."""

from lorkit.export.reporting.pages.rendering import render_html, render_markdown

__all__ = ["render_html", "render_markdown"]
