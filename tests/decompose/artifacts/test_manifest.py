import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from resealing import edit_json, seal_manifest

from lorkit.decompose.artifacts import files, manifest
from lorkit.decompose.errors import ArtifactError, BusyError


def make(directory: Path, kind: str = "run", *, parent: Path | None = None, **options: object) -> manifest.Manifest:
    directory.mkdir(parents=True)
    options["parent"] = None if parent is None else manifest.read_manifest(parent)
    (directory / "a.txt").write_text("content")
    (directory / "deep").mkdir()
    (directory / "deep" / "b.txt").write_text("more")
    return manifest.write_manifest(directory, kind, synthetic=False, inputs="same", **options)  # type: ignore[arg-type]


def test_manifest_names_every_file_and_reads_back(tmp_path: Path) -> None:
    written = make(tmp_path / "x")
    assert manifest.read_manifest(tmp_path / "x", kind="run") == written
    assert sorted(written.files) == ["a.txt", "deep/b.txt"]


def test_what_later_steps_write_is_outside(tmp_path: Path) -> None:
    manifest = make(tmp_path / "x", outside=("deep",))
    assert list(manifest.files) == ["a.txt"]


@pytest.mark.parametrize("damage", ["change", "remove", "truncate"])
def test_a_damaged_file_is_named(tmp_path: Path, damage: str) -> None:
    make(tmp_path / "x")
    path = tmp_path / "x" / "deep" / "b.txt"
    path.unlink() if damage == "remove" else path.write_text("evil" if damage == "change" else "")
    with pytest.raises(ArtifactError, match=r"deep/b\.txt"):
        manifest.read_manifest(tmp_path / "x")
    with pytest.raises(ArtifactError, match=r"deep/b\.txt"):
        manifest.is_current(tmp_path / "x", "run", "same")


@pytest.mark.parametrize("name", ["../secret", "/etc/hostname", "link"])
def test_a_manifest_cannot_point_outside(tmp_path: Path, name: str) -> None:
    make(tmp_path / "x")
    (tmp_path / "secret").write_text("s")
    (tmp_path / "x" / "link").symlink_to(tmp_path / "secret")
    path = tmp_path / "x" / manifest.MANIFEST
    document = json.loads(path.read_text())
    document["files"][name] = files.digest_bytes(b"s")
    path.write_text(json.dumps(document))
    seal_manifest(tmp_path / "x")
    with pytest.raises(ArtifactError, match="outside its directory"):
        manifest.read_manifest(tmp_path / "x")


@pytest.mark.parametrize("text", ["", "[]", "{", '{"kind": "run"}', '{"kind": "run", "schema_version": 99}', "\xff"])
def test_a_broken_manifest_is_an_artifact_error(tmp_path: Path, text: str) -> None:
    make(tmp_path / "x")
    (tmp_path / "x" / manifest.MANIFEST).write_text(text, encoding="latin-1")
    with pytest.raises(ArtifactError):
        manifest.read_manifest(tmp_path / "x", kind="run")


@pytest.mark.parametrize(
    "parent", [{"a": "b"}, {"kind": "run"}, "text", 3, {"kind": "run", "sha256": "x", "path": ".."}]
)
def test_a_broken_link_to_the_parent_is_an_artifact_error(tmp_path: Path, parent: object) -> None:
    make(tmp_path / "x")
    path = tmp_path / "x" / manifest.MANIFEST
    path.write_text(json.dumps({**json.loads(path.read_text()), "parent": parent}))
    with pytest.raises(ArtifactError, match="lacks its fields"):
        manifest.read_manifest(tmp_path / "x")


@pytest.mark.parametrize("name", ["a" * 256, "a/" * 2000, "a\0b", "\ud800"], ids=ascii)
def test_a_path_that_no_file_system_holds_is_a_damaged_manifest(tmp_path: Path, name: str) -> None:
    made = make(tmp_path / "x")
    path = tmp_path / "x" / manifest.MANIFEST
    document = json.loads(path.read_text())
    link = {"kind": "run", "sha256": made.digest, "path": name}
    for changed in ({"files": {**document["files"], name: made.digest}}, {"parent": link}):
        path.write_text(json.dumps({**document, **changed}))
        for read in (manifest.read_manifest, manifest.verify_chain):
            with pytest.raises(ArtifactError, match="lacks its fields"):
                read(tmp_path / "x")


LEAVES = ("schema_version", "kind", "created", "synthetic", "inputs", "parent/sha256", "files/a.txt", "tools/torch",
          "machine/cpu", "extra/region", "seal")  # fmt: skip


@pytest.mark.parametrize("how", ["changed", "removed"])
@pytest.mark.parametrize("leaf", LEAVES)
def test_no_value_of_a_manifest_can_be_changed_unnoticed(tmp_path: Path, leaf: str, how: str) -> None:
    make(tmp_path / "run")
    make(tmp_path / "x", "report", parent=tmp_path / "run", extra={"region": "chest"})
    manifest.read_manifest(tmp_path / "x")

    def edit(document: Any) -> None:
        *above, name = leaf.split("/")
        for one in above:
            document = document[one]
        value = document.pop(name)
        if how == "changed":
            document[name] = not value if isinstance(value, bool) else f"{value}1"

    edit_json(tmp_path / "x" / manifest.MANIFEST, edit)
    for read in (manifest.read_manifest, lambda path: manifest.read_manifest(path, verify=False)):
        with pytest.raises(ArtifactError):
            read(tmp_path / "x")


def test_the_layout_of_a_manifest_says_nothing(tmp_path: Path) -> None:
    written = make(tmp_path / "x")
    edit_json(tmp_path / "x" / manifest.MANIFEST, lambda document: document.update(sorted(document.items())))
    read = manifest.read_manifest(tmp_path / "x")
    assert read.model_copy(update={"digest": written.digest}) == written


def test_another_kind_is_refused(tmp_path: Path) -> None:
    make(tmp_path / "x", kind="expert")
    with pytest.raises(ArtifactError, match="kind 'run'"):
        manifest.read_manifest(tmp_path / "x", kind="run")


def test_current_means_complete_and_of_the_same_inputs(tmp_path: Path) -> None:
    assert not manifest.is_current(tmp_path / "x", "run", "same")
    make(tmp_path / "x")
    assert manifest.is_current(tmp_path / "x", "run", "same")
    assert not manifest.is_current(tmp_path / "x", "run", "other")


@pytest.mark.parametrize("inputs", ["same", "other"])
def test_a_manifest_is_read_once_in_a_call(tmp_path: Path, reads: Counter[str], inputs: str) -> None:
    make(tmp_path / "x")
    path = str(tmp_path / "x" / manifest.MANIFEST)
    reads.clear()
    manifest.read_manifest(tmp_path / "x", kind="run")
    assert reads[path] == 1
    manifest.is_current(tmp_path / "x", "run", inputs)
    assert reads[path] == 2


def test_a_chain_reads_each_manifest_once(tmp_path: Path, reads: Counter[str]) -> None:
    make(tmp_path / "run")
    make(tmp_path / "expert", kind="expert", parent=tmp_path / "run")
    reads.clear()
    manifest.verify_chain(tmp_path / "expert", kind="expert")
    assert [reads[str(tmp_path / name / manifest.MANIFEST)] for name in ("run", "expert")] == [1, 1]
    with pytest.raises(ArtifactError, match="kind 'export'"):
        manifest.verify_chain(tmp_path / "expert", kind="export")


@pytest.mark.parametrize("name", ["run", "expert"])
def test_a_chain_checks_the_files_of_each_link(tmp_path: Path, name: str) -> None:
    make(tmp_path / "run")
    make(tmp_path / "expert", kind="expert", parent=tmp_path / "run")
    (tmp_path / name / "a.txt").write_text("changed")
    with pytest.raises(ArtifactError, match=f"{name}/a.txt has changed"):
        manifest.verify_chain(tmp_path / "expert")


def test_chain_is_checked_up_to_the_root(tmp_path: Path) -> None:
    make(tmp_path / "run")
    make(tmp_path / "run" / "experts" / "chest", kind="expert", parent=tmp_path / "run")
    chain = manifest.verify_chain(tmp_path / "run" / "experts" / "chest")
    assert [link.kind for link in chain] == ["expert", "run"]
    manifest.write_manifest(tmp_path / "run", "run", synthetic=True)
    with pytest.raises(ArtifactError, match="not the run that"):
        manifest.verify_chain(tmp_path / "run" / "experts" / "chest")


@pytest.mark.parametrize("form", ["router", "region-id"])
def test_a_damaged_network_of_several_regions_names_the_command_that_makes_it(tmp_path: Path, form: str) -> None:
    make(tmp_path / "x", kind="mixture", extra={"region": form})
    (tmp_path / "x" / "a.txt").write_text("changed")
    with pytest.raises(ArtifactError, match=f"with `decompose extract --{form} --force`"):
        manifest.read_manifest(tmp_path / "x")


@pytest.mark.parametrize("kind", ["run", "expert", "export", "report"])
def test_a_manifest_without_files_is_no_artifact(tmp_path: Path, kind: str) -> None:
    make(tmp_path / "x", kind=kind)
    edit_json(tmp_path / "x" / manifest.MANIFEST, lambda document: document.update(files={}))
    seal_manifest(tmp_path / "x")
    with pytest.raises(ArtifactError, match="lists no file"):
        manifest.read_manifest(tmp_path / "x")


@pytest.mark.parametrize("name", ["more.txt", "deep/more.txt", "__pycache__/example.pyc", "new/deeper/w.bin"])
@pytest.mark.parametrize("kind", ["expert", "mixture", "export", "foundation"])
def test_a_network_holds_no_file_that_its_manifest_does_not_list(tmp_path: Path, kind: str, name: str) -> None:
    make(tmp_path / "x", kind=kind)
    added = tmp_path / "x" / name
    added.parent.mkdir(parents=True, exist_ok=True)
    added.write_text("evil")
    with pytest.raises(ArtifactError, match=f"{name} is not listed in manifest.json"):
        manifest.read_manifest(tmp_path / "x")
    added.unlink()
    added.symlink_to(tmp_path)
    with pytest.raises(ArtifactError, match="is not listed"):
        manifest.read_manifest(tmp_path / "x")


def test_locks_exports_of_an_expert_and_notes_in_a_run_are_left_alone(tmp_path: Path) -> None:
    for kind, name in (("export", ".x.lock"), ("expert", "exports/onnx/model.onnx"), ("run", "notes.txt"),
                       ("run", "measurements/gate.json"), ("report", "report.pdf")):  # fmt: skip
        directory = tmp_path / f"{kind}-{len(name)}"
        make(directory, kind=kind)
        (directory / name).parent.mkdir(parents=True, exist_ok=True)
        (directory / name).write_text("kept")
        assert manifest.read_manifest(directory).kind == kind


@pytest.mark.parametrize("name", ["config.yaml", "model.safetensors", "foundation/model.safetensors"])
def test_what_is_read_of_a_run_is_listed(tmp_path: Path, name: str) -> None:
    make(tmp_path / "x")
    (tmp_path / "x" / name).parent.mkdir(exist_ok=True)
    (tmp_path / "x" / name).write_text("evil")
    with pytest.raises(ArtifactError, match="is not listed"):
        manifest.read_manifest(tmp_path / "x")


@pytest.mark.parametrize("change", ["a file", "the manifest", "all of it", "nothing left"])
def test_an_artifact_is_not_sealed_when_what_it_was_made_from_has_changed(tmp_path: Path, change: str) -> None:
    opened, child = make(tmp_path / "run"), tmp_path / "expert"
    child.mkdir()
    (child / "x").write_text("made from it")
    sealed = manifest.write_manifest(child, "expert", synthetic=False, parent=opened)
    assert sealed.parent == {"kind": "run", "sha256": opened.digest, "path": "../run"}
    (child / manifest.MANIFEST).unlink()
    if change == "a file":
        (tmp_path / "run" / "a.txt").write_text("another")
    elif change == "the manifest":
        manifest.write_manifest(tmp_path / "run", "run", synthetic=True)
    else:
        (tmp_path / "run").rename(tmp_path / "old")
        if change == "all of it":
            make(tmp_path / "run")
    error, said = (
        (ArtifactError, r"a\.txt has changed") if change == "a file" else (BusyError, "run was replaced while")
    )
    with pytest.raises(error, match=said):
        manifest.write_manifest(child, "expert", synthetic=False, parent=opened)
    assert not (child / manifest.MANIFEST).exists()
