"""`decompose profiles`: the known hardware."""

from __future__ import annotations

from typing import Annotated

import typer

from lorkit.cli import options

profiles = typer.Typer(help="List, show and detect hardware profiles.", rich_markup_mode=None)


@profiles.command("list")
def list_profiles(as_json: options.Json = False) -> None:
    """List the built-in profiles."""
    from lorkit.cli.output.next_steps import command, suggest
    from lorkit.cli.output.streams import print_json, print_result
    from lorkit.decompose.documents.hardware import ProfilesDocument
    from lorkit.profiles import available, load

    found = [load(name) for name in available()]
    if as_json:
        print_json(
            ProfilesDocument.model_validate({"profiles": [profile.model_dump(mode="json") for profile in found]})
        )
        return
    for profile in found:
        print_result(f"{profile.name:<16} {profile.description}")
    suggest(command("profiles show", found[0].name), command("profiles detect"))


@profiles.command("show")
def show(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Name of a profile, or path of a YAML file.")],
    as_json: options.Json = False,
) -> None:
    """Show one profile as YAML."""
    import yaml

    from lorkit.cli.output.next_steps import command, suggest
    from lorkit.cli.output.streams import print_json, print_result
    from lorkit.decompose.documents.hardware import ProfileDocument
    from lorkit.profiles import load

    profile = load(name).model_dump(mode="json")
    if as_json:
        print_json(ProfileDocument.model_validate({"hardware": profile}))
    else:
        print_result(yaml.safe_dump(profile, sort_keys=False).rstrip())
        suggest(command("export", "--profile", name))


@profiles.command("detect")
def detect(as_json: options.Json = False) -> None:
    """Name the profile of this machine."""
    from lorkit.cli.output.next_steps import command, suggest
    from lorkit.cli.output.streams import print_json, print_result
    from lorkit.decompose.documents.hardware import ProfileDocument
    from lorkit.decompose.machine import fingerprint
    from lorkit.profiles import detect as choose

    machine = fingerprint()
    profile = choose(machine)
    if as_json:
        found = {"hardware": profile.model_dump(mode="json"), "machine": machine}
        print_json(ProfileDocument.model_validate(found))
    else:
        print_result(profile.name)
        suggest(command("profiles show", profile.name), command("doctor"))
