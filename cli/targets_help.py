"""The help of `export`: its options, then every target with whether it works here."""

from __future__ import annotations

from typing import Any

from typer.core import TyperCommand


class TargetsHelp(TyperCommand):
    """A command whose help ends with the targets; they are asked when the help is, not before."""

    def format_epilog(self, ctx: Any, formatter: Any) -> None:
        """Write each target, its precisions and, where it does not work here, why and how to get it."""
        from lorkit.export.targets import targets

        rows = []
        for name, target in targets().items():
            state = target.available()
            told = ", ".join(target.precisions)
            if not state.ok:
                told += f". Missing: {state.reason}; {state.install}"
            elif not state.runs:
                told += f". Builds here, does not run: {state.why}"
            rows.append((name, told))
        with formatter.section("Targets and their precisions"):
            formatter.write_dl(rows)
