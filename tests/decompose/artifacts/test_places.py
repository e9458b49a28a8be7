from pathlib import Path

import pytest
from resealing import reseal

from lorkit.decompose.artifacts import Manifest, read_manifest, write_manifest
from lorkit.decompose.artifacts.places import Place, place_of
from lorkit.decompose.errors import ArtifactError

EXPERT, EXPORT = ("expert", "mixture"), ("export",)


def make(directory: Path, kind: str, parent: Path | None = None, **extra: object) -> Manifest:
    directory.mkdir(parents=True)
    (directory / "file").write_text("content")
    of = None if parent is None else read_manifest(parent, verify=False)
    return write_manifest(directory, kind, synthetic=False, parent=of, extra=extra, outside=("experts", "exports"))


@pytest.mark.parametrize(
    ("inside", "place"),
    [
        ("experts/chest", (EXPERT, "expert", "chest")),
        ("exports/chest/onnx", (EXPORT, "expert", "chest")),
        ("exports/foundation/chest/onnx", (EXPORT, "foundation", "chest")),
        ("exports/.chest.old-1/onnx", None),
        ("exports/chest/.onnx.partial-host-1", None),
        ("exports/a/b/c/onnx", None),
        ("experts", None),
        ("kept/chest", None),
    ],
)
def test_a_place_in_a_run_names_owner_and_region(
    tmp_path: Path, inside: str, place: tuple[tuple[str, ...], str, str] | None
) -> None:
    make(tmp_path / "runs/a", "run")
    assert place_of(tmp_path / "runs/a" / inside) == (None if place is None else Place(tmp_path / "runs/a", *place))


def test_outside_of_runs_there_is_no_place(tmp_path: Path) -> None:
    make(tmp_path / "store", "comparison")
    (tmp_path / "manifest.json").write_text("not of this program")
    assert place_of(tmp_path / "store/exports/chest/onnx") is None


def test_a_path_counts_as_it_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make(tmp_path / "runs/a", "run")
    monkeypatch.chdir(tmp_path / "runs/a")
    found = place_of(Path("exports/knee/../chest/onnx"))
    assert found is not None
    assert found.region == "chest"


@pytest.mark.parametrize(
    ("place", "kind", "extra", "message"),
    [
        ("exports/brain/onnx", "export", {"region": "chest", "owner": "expert"}, "the export of region 'chest'"),
        ("exports/chest/onnx", "export", {"region": "chest", "owner": "student"}, r"region 'chest' \(student\)"),
        ("exports/student/chest/onnx", "export", {"region": "chest", "owner": "expert"}, r"'chest' \(expert\)"),
        ("exports/chest/onnx", "expert", {"region": "chest"}, "holds the expert"),
        ("experts/brain", "expert", {"region": "chest"}, "the expert of region 'chest'"),
        ("experts/chest", "foundation", {"region": "chest"}, "holds the foundation"),
        (
            "exports/chest/onnx",
            "export",
            {"region": "chest", "owner": "expert", "run": 64 * "0"},
            "is not the run that",
        ),
    ],
)
def test_the_wrong_thing_at_a_place_is_named(
    tmp_path: Path, place: str, kind: str, extra: dict[str, str], message: str
) -> None:
    make(tmp_path / "run", "run")
    make(tmp_path / "run" / place, kind, tmp_path / "run", **extra)
    read_manifest(tmp_path / "run" / place, verify=False)
    with pytest.raises(ArtifactError, match=message):
        read_manifest(tmp_path / "run" / place)


def test_what_was_made_from_an_earlier_state_of_its_run_is_refused_in_it_alone(tmp_path: Path) -> None:
    run, places = tmp_path / "run", ("experts/chest", "exports/chest/onnx")
    made = make(run, "run")
    make(run / places[0], "expert", run, region="chest")
    make(run / places[1], "export", run / places[0], region="chest", owner="expert", run=made.digest)
    assert [read_manifest(run / place).kind for place in places] == ["expert", "export"]
    write_manifest(run, "run", synthetic=True, outside=("experts", "exports"))
    for index, place in enumerate(places):
        with pytest.raises(ArtifactError, match="is not the run that"):
            read_manifest(run / place)
        (run / place).rename(run / f"kept-{index}")
        assert read_manifest(run / f"kept-{index}").digest


def test_an_export_stays_valid_without_the_expert_it_was_made_from(tmp_path: Path) -> None:
    run = tmp_path / "run"
    made = make(run, "run")
    make(tmp_path / "run/experts/chest", "expert", run, region="chest")
    make(run / "exports/chest/onnx", "export", run / "experts/chest", region="chest", owner="expert", run=made.digest)
    (run / "experts/chest").rename(tmp_path / "away")
    assert read_manifest(run / "exports/chest/onnx").kind == "export"


@pytest.mark.parametrize(
    ("place", "kind"), [("report", "report"), ("experts/chest", "expert"), ("exports/chest/onnx", "export")]
)
@pytest.mark.parametrize("path", ["../../../../x", "/tmp", "."])
def test_a_link_that_leads_elsewhere_is_refused_in_a_run_alone(
    tmp_path: Path, place: str, kind: str, path: str
) -> None:
    run = tmp_path / "run"
    made = make(run, "run")
    make(run / place, kind, run, region="chest", owner="expert", run=made.digest)
    read_manifest(run / place)
    reseal(run / place, lambda manifest: manifest["parent"].update(path=path))
    if (kind, path) == ("export", "."):  # an expert that is gone: the export stays valid
        read_manifest(run / place)
        return
    with pytest.raises(ArtifactError, match=f"{place} says that it was made from .*required: what it was made from"):
        read_manifest(run / place)
    if kind != "export":
        reseal(run / place, lambda manifest: manifest.update(parent=None))
        with pytest.raises(ArtifactError, match=f"{place} says that it was made from nothing"):
            read_manifest(run / place)
    (run / place).rename(tmp_path / "elsewhere")
    read_manifest(tmp_path / "elsewhere")
