"""The command line is a contract: an option that appears, disappears or changes its name must be meant."""

from __future__ import annotations

import inspect
from typing import Any, get_args, get_type_hints

import pytest
import typer.main

from lorkit.cli import options
from lorkit.cli.commands import list_commands
from lorkit.cli.main import app
from lorkit.decompose.errors import UsageError

FROZEN = {
    "init": "--from-data --label --graph --out --force --json",
    "data": "CONFIG --set --sheet --find --json",
    "pretrain": "CONFIG --set --resume --out --force --json",
    "train": "CONFIG --method --set --from --add-region --remove-region --resume --dry-run "
    "--tensorboard --out --force --json",
    "evaluate": "PATH --run --region --model --split --data --outside --flips --json",
    "compare": "CONFIG --methods --variant --seeds --fractions --unlabelled-rest --split --budget --controls "
    "--set --out --json",
    "extract": "--run --region --router --region-id --recalibrate --rank --out --force --json",
    "export": "PATH --run --region --target --profile --precision --max-accuracy-drop --max-seconds --batch --threads "
    "--calibration --recipe --out --force --allow-synthetic --json",
    "verify": "PATH --run --region --target --profile --precision --data --bisect --trust-native --json",
    "bench": "PATH... --run --region --target --profile --precision "
    "--batch --threads --against --image --max-seconds --seed --trust-native --json",
    "report": "--run --against --force --trust-native --json",
    "gate": "--run --baseline --candidate --region --target --profile --precision "
    "--margin --max-accuracy-drop --min-accuracy --min-recall --data --subgroup "
    "--strict-subgroups --max-seconds --on-inconclusive "
    "--update-baseline --because --junit --markdown --annotations --seed --trust-native --json",
    "predict": "[PATH] INPUT... --run --region --target --profile "
    "--precision --top --out --sheet --stream --store --fill --allow-synthetic --allow-out-of-region --flips --fast "
    "--to --structures --statistics --preview --memory --trust-native --json",
    "inspect": "PATH... --json",
    "pack": "RUN --out --force --json",
    "clean": "--out --yes --interrupted --json",
    "doctor": "--json",
    "schema": "NAME",
    "help": "VERB --man",
    "profiles list": "--json",
    "profiles show": "NAME --json",
    "profiles detect": "--json",
}


def test_the_options_are_frozen() -> None:
    found = {
        path.removeprefix("decompose "): " ".join(
            parameter.opts[0] if parameter.param_type_name == "option" else parameter.metavar
            for parameter in command.params
            if parameter.name != "help"
        )
        for path, command in list_commands(typer.main.get_command(app))
    }
    assert found == FROZEN


def test_every_verb_speaks_json() -> None:
    said = {verb for verb, line in FROZEN.items() if "--json" not in line.split()}
    assert said == {"schema", "help"}  # one prints nothing but JSON, the other text for people


@pytest.mark.parametrize("text", ["", ",", "1,b", "-1", "1.5", "\u00b2", "9" * 5000])
def test_whole_numbers_refuse(text: str) -> None:
    with pytest.raises(UsageError, match="required: whole numbers"):
        options.whole_numbers("--batch", text, most=100)


@pytest.mark.parametrize("text", ["", "0", "1.1", "x", "nan", "-0.5"])
def test_fractions_refuse(text: str) -> None:
    with pytest.raises(UsageError, match="required: numbers above 0"):
        options.fractions("--fractions", text)


def test_lists_are_read() -> None:
    assert options.whole_numbers("--batch", "1, 8", most=100) == [1, 8]
    assert options.fractions("--fractions", "0.1,1") == [0.1, 1.0]
    assert options.comma_separated(" stl,,mtl ") == ["stl", "mtl"]


def test_every_number_has_bounds() -> None:
    """A number without a largest value ends in memory without end, or in an error of another library."""
    unbounded = []
    for path, command in list_commands(typer.main.get_command(app)):
        for name, hint in get_type_hints(inspect.unwrap(command.callback), include_extras=True).items():
            if name == "return":
                continue
            kinds, notes = _parts(hint)
            infos = [note for note in notes if hasattr(note, "min")]
            bounded = any(None not in (info.min, info.max) for info in infos)
            if kinds & {int, float} and not bounded:
                unbounded.append(f"{path} --{name}")
    assert not unbounded


def _parts(hint: Any) -> tuple[set[Any], list[Any]]:
    """Return the types of an annotation and its notes."""
    kinds, notes = {hint}, list(getattr(hint, "__metadata__", ()))
    for inner in get_args(hint):
        if inner not in notes:
            found = _parts(inner)
            kinds, notes = kinds | found[0], notes + found[1]
    return kinds, notes


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("1,100000", "each at most 65536"),
        (",".join(map(str, range(200))), "up to 100 whole numbers"),
        ("9" * 10_000, "whole numbers"),
        ("-1", "whole numbers"),
        ("", "whole numbers"),
    ],
)
def test_lists_of_numbers_have_bounds(text: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        options.whole_numbers("--batch", text, most=65536)
