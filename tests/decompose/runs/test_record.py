"""Documents of a run that were changed and sealed again."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from resealing import Edit, edit_json, reseal

from lorkit.decompose.errors import ArtifactError
from lorkit.decompose.runs import Run, open_run


def rename(key: str) -> Edit:
    """Return an edit that gives the region chest another name."""

    def edit(document: dict[str, Any]) -> None:
        document[key] = {name.replace("chest", "chesu"): value for name, value in document[key].items()}

    return edit


def set_row(key: str, value: object) -> Edit:
    return lambda document: document["regions"][0].update({key: value})


CHANGES: dict[str, tuple[str, Edit, str]] = {
    "parts that are a number": ("splits.json", lambda it: it["regions"].update(chest=1), r"states regions\.chest as 1"),
    "no list of digests": ("splits.json", lambda it: it["regions"]["chest"].update(test="x"), r"regions\.chest\.test"),
    "no digest": ("splits.json", lambda it: it["regions"]["chest"]["test"].append("x"), "a SHA-256"),
    "no labels": ("splits.json", lambda it: it["labels"].pop("knee"), "labels of chest; required: labels of every"),
    "a part less": ("splits.json", lambda it: it["regions"]["knee"].pop("val"), r"regions\.knee"),
    "no part": ("splits.json", lambda it: it["regions"].update(knee={}), r"regions\.knee"),
    "labels of a part less": ("splits.json", lambda it: it["labels"]["knee"].pop("test"), r"labels\.knee"),
    "another region": ("splits.json", lambda it: [rename(key)(it) for key in ("regions", "labels")],
                       r"regions .*chesu, knee in splits\.json"),
    "a region more": ("splits.json", lambda it: it["regions"].update(arm=it["regions"]["knee"]),
                      "labels of chest, knee"),
    "a region renamed": ("regions.json", set_row("name", "chesu"), r"chesu, knee in regions\.json.*chest, knee in"),
    "regions in another order": ("regions.json", lambda it: it["regions"].reverse(), r"knee, chest in regions\.json"),
    "no region": ("regions.json", lambda it: it["regions"].clear(), "regions"),
    "no list of regions": ("regions.json", lambda it: it.update(regions=3), "states regions as 3"),
    "an unknown key": ("regions.json", set_row("organ", "x"), r"unknown key regions\.0\.organ"),
    "classes that are a text": ("regions.json", set_row("classes", "ab"), r"regions\.0\.classes"),
    "a class twice": ("regions.json", set_row("classes", ["a", "a"]), "names a class twice"),
    "a name that leads elsewhere": ("regions.json", set_row("name", "../x"), "region name '../x'"),
    "synthetic as a text": ("regions.json", set_row("synthetic", "no"), r"regions\.0\.synthetic"),
    "the manifest's regions": ("", lambda it: it["extra"].update(regions=["chest"]), r"chest in manifest\.json"),
}  # fmt: skip


@pytest.mark.parametrize("name", CHANGES)
def test_what_was_changed_and_sealed_again_is_refused(small_run: Run, name: str) -> None:
    file, edit, said = CHANGES[name]
    if file:
        edit_json(small_run.path / file, edit)
        reseal(small_run.path)
    else:
        reseal(small_run.path, edit)
    with pytest.raises(ArtifactError, match=said):
        open_run(small_run.path)


def replaced(old: str, new: str) -> Callable[[str], str]:
    return lambda text: text.replace(old, new)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (replaced("\n  chest:", "\n  chesu:"), r"chesu, knee in config\.yaml"),
        (replaced("\n  chest:", "\n  che st:"), r"config\.yaml is damaged \("),
        (replaced("method: lorkd", "method: [lorkd"), r"config\.yaml is damaged \("),
    ],
)
def test_a_changed_configuration_is_refused(small_run: Run, change: Callable[[str], str], said: str) -> None:
    path = small_run.path / "config.yaml"
    text = path.read_text(encoding="utf-8")
    assert change(text) != text
    path.write_text(change(text), encoding="utf-8")
    reseal(small_run.path)
    with pytest.raises(ArtifactError, match=said):
        open_run(small_run.path)


def test_an_intact_run_is_opened_wherever_it_lies(small_run: Run, tmp_path: Path) -> None:
    assert open_run(small_run.path.rename(tmp_path / "elsewhere")).regions.names == ("chest", "knee")
