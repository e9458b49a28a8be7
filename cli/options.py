"""The options that several commands share."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias

import typer

from lorkit.cli import completion
from lorkit.decompose.errors import UsageError

if TYPE_CHECKING:
    from lorkit.decompose.config import Config
    from lorkit.decompose.events import Event
    from lorkit.decompose.models.foundation.teacher import Teacher


def existing(given: Any) -> Any:
    """Raise UsageError for a path, or one of several, that is not there; the callback of options that read it."""
    for path in given if isinstance(given, list | tuple) else [given]:
        if path is not None and not os.path.lexists(path):
            raise UsageError(f"no file or directory at {path}", required="an existing path", fix="check the path")
    return given


ConfigPath: TypeAlias = Annotated[
    Path | None,
    typer.Argument(metavar="CONFIG", help="A configuration. Default: ./decompose.yaml, else the built-in phantom."),
]
ArtifactPath: TypeAlias = Annotated[
    Path | None, typer.Argument(metavar="PATH", help="An artifact directory, instead of a run.")
]
RunName: TypeAlias = Annotated[
    str | None,
    typer.Option(metavar="ID|PATH", help="The run. Default: the newest.", autocompletion=completion.runs),
]
RegionName: TypeAlias = Annotated[
    str,
    typer.Option(metavar="NAME|all", help="Regions, separated by commas.", autocompletion=completion.regions),
]
Seed: TypeAlias = Annotated[int, typer.Option(min=0, max=2**31 - 1, help="Seed of inputs, orders and intervals.")]
TargetName: TypeAlias = Annotated[
    str | None,
    typer.Option(metavar="NAME", help="Deployment format, such as onnx or trt.", autocompletion=completion.targets),
]
ProfileName: TypeAlias = Annotated[
    str | None,
    typer.Option(metavar="NAME", help="Hardware. Default: this machine.", autocompletion=completion.profiles),
]
PrecisionName: TypeAlias = Annotated[str | None, typer.Option(metavar="NAME", help="Number format, such as fp32.")]
Settings: TypeAlias = Annotated[
    list[str] | None, typer.Option("--set", metavar="A.B=C", help="Override a setting. Can be repeated.")
]
MethodName: TypeAlias = Annotated[
    str | None,
    typer.Option(metavar="NAME", help="Method of decomposition, such as lorkd.", autocompletion=completion.method),
]
DataFile: TypeAlias = Annotated[
    Path | None, typer.Option(metavar="FILE", help="Use all rows of this file instead.", callback=existing)
]
Force: TypeAlias = Annotated[bool, typer.Option("--force", help="Build again what already exists.")]
Json: TypeAlias = Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout and nothing else.")]
Flips: TypeAlias = Annotated[
    bool, typer.Option("--flips", help="Average each image and its mirror image, where sides do not matter.")
]
Fast: TypeAlias = Annotated[
    bool, typer.Option("--fast", help="Take volumes at twice the spacing: quicker, and not judged.")
]


def _trust(context: typer.Context, given: bool) -> bool:
    """Let the command load compiled engines of other machines, until it ends."""
    if given:
        from lorkit.export import trust_native

        context.with_resource(trust_native())
    return given


TrustNative: TypeAlias = Annotated[
    bool,
    typer.Option(
        "--trust-native",
        help="Also load compiled engines (aoti, torch-trt) of other machines, which runs their author's code.",
        callback=_trust,
    ),
]
AllowSynthetic: TypeAlias = Annotated[
    bool, typer.Option("--allow-synthetic", help="Accept an expert that was trained on phantoms only.")
]


def _out(what: str, default: str) -> typer.models.OptionInfo:
    option: typer.models.OptionInfo = typer.Option(
        "--out", metavar="DIR", help=f"Directory {what}. Default: {default}.", show_default=False
    )
    return option


AllowOutOfRegion: TypeAlias = Annotated[
    bool, typer.Option("--allow-out-of-region", help="Also predict for images that do not look like the region.")
]
MOST_BATCH, MOST_THREADS, MOST_SEED = 65_536, 1024, 2**31 - 1
Seconds: TypeAlias = Annotated[float, typer.Option(min=0.001, max=1e6, help="Seconds for all measurements together.")]
Top: TypeAlias = Annotated[int, typer.Option(min=1, max=10_000, help="Number of classes to list per image.")]
Sheet: TypeAlias = Annotated[
    Path | None,
    typer.Option(metavar="PNG", help="Also draw the images in rows by answer; it shows patients.", show_default=False),
]
Stream: TypeAlias = Annotated[
    str | None,
    typer.Option(metavar="FILE|-", help="Score rows instead of images: a JSON object per line, - for stdin."),
]
Store: TypeAlias = Annotated[
    str | None,
    typer.Option(metavar="FILE|URL", help="Counters of a stream: a SQLite file, or redis://HOST:PORT/DATABASE."),
]
Fill: TypeAlias = Annotated[
    bool, typer.Option("--fill", help="Count the rows of the run in a new store before the stream.")
]
MaskFormat: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--to", metavar="nifti|dicom-seg", help="Format of the masks of volumes; dicom-seg takes DICOM series."
    ),
]
Structures: TypeAlias = Annotated[
    str | None,
    typer.Option(metavar="A,B", help="Only these structures in masks, tables and statistics."),
]
Statistics: TypeAlias = Annotated[
    bool, typer.Option("--statistics", help="Volume in ml and mean intensity of each structure, as JSON and CSV.")
]
Preview: TypeAlias = Annotated[
    bool, typer.Option("--preview", help="Also draw slices with outlines of each case into --out; it shows patients.")
]
Memory: TypeAlias = Annotated[
    float | None,
    typer.Option(
        metavar="GIB", min=0.01, max=1_000_000,
        help="Memory the process may take for a volume at a spacing. Default: what is free.",
        show_default=False,
    ),
]  # fmt: skip
RunsOut: TypeAlias = Annotated[Path, _out("of the runs", "runs")]
FoundationsOut: TypeAlias = Annotated[Path, _out("of the foundation models", "foundations")]
ComparisonsOut: TypeAlias = Annotated[Path, _out("of the comparisons", "comparisons")]
ExpertsOut: TypeAlias = Annotated[Path | None, _out("for the experts", "experts/ of the run")]
PredictionsOut: TypeAlias = Annotated[Path | None, _out("for predictions.csv and .json", "stdout only")]


_MOST_NUMBERS = 100


def one_of(*, path: Path | None, run: str | None) -> None:
    """Raise UsageError if a path and a run are both given."""
    if path is not None and run is not None:
        raise UsageError(f"both {path} and --run {run}", required="one of them", fix="remove one")


def comma_separated(text: str | None) -> list[str]:
    """Split a comma-separated option and drop blanks."""
    return [part.strip() for part in (text or "").split(",") if part.strip()]


def whole_numbers(option: str, text: str, *, most: int) -> list[int]:
    """Parse a comma-separated option of up to a hundred whole numbers from 0 to `most`; raise UsageError otherwise."""
    parts = comma_separated(text)
    # isdecimal excludes superscripts; numbers here are short
    if not parts or not all(part.isdecimal() and len(part) < 20 for part in parts):
        raise UsageError(
            f"{option} {text}", required="whole numbers separated by commas", fix=f"for example {option} 1,8"
        )
    numbers = [int(part) for part in parts]
    if max(numbers) > most or len(numbers) > _MOST_NUMBERS:
        raise UsageError(
            f"{option} {text}",
            required=f"up to {_MOST_NUMBERS} whole numbers, each at most {most}",
            fix=f"for example {option} 1,8",
        )
    return numbers


def fractions(option: str, text: str) -> list[float]:
    """Parse a comma-separated option of fractions above 0 and up to 1; raise UsageError otherwise."""
    try:
        values = [float(part) for part in comma_separated(text)]
    except ValueError:
        values = []
    if not values or len(values) > _MOST_NUMBERS or not all(0 < value <= 1 for value in values):
        raise UsageError(
            f"{option} {text}",
            required="numbers above 0 and up to 1, separated by commas",
            fix=f"for example {option} 0.1,1",
        )
    return values


def onnx_teacher(config: Config) -> Teacher | None:
    """Open the ONNX file of a configuration's foundation; None if it is something else."""
    if not config.foundation.is_onnx:
        return None
    from lorkit.export.onnx.teacher import open_teacher  # needs ONNX Runtime

    return open_teacher(config)


class BuiltInSaid:
    """Events for a training, the first of them after a line that phantoms are used where no configuration is.

    Nothing is said of a command that was refused: its error is the only line.

    Args:
        config: The configuration that was named.
        on_event: Takes the events.
    """

    def __init__(self, config: Path | None, on_event: Callable[[Event], None]) -> None:
        from lorkit.decompose.config.loading import FILE_NAME

        self._file, self._on_event = FILE_NAME, on_event
        self._said = config is not None or Path(FILE_NAME).exists()

    def __call__(self, event: Event) -> None:
        """Pass an event on."""
        self.say()
        self._on_event(event)

    def say(self) -> None:
        """Say it, if it was not said: a result that was there already has no events."""
        from lorkit.cli.output.streams import print_status

        if not self._said:
            self._said = True
            print_status(
                f"no {self._file} here: built-in phantoms are used (your data: `decompose init --from-data DIR`)"
            )
