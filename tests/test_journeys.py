"""Each page of docs/journeys runs as written, from an empty directory with the files that it begins with."""

from __future__ import annotations

import json
import re
import shlex
import stat
from collections.abc import Callable
from pathlib import Path

import journey_files
import pytest
from small_runs import register_tiny

from lorkit.cli.main import run_command_line
from lorkit.decompose.runs.listing import list_runs
from lorkit.export.benchmarking import benchmark, footprint
from lorkit.export.reporting import measurements

PAGES = Path(__file__).parent.parent / "docs" / "journeys"
SMALL = ("train.epochs=2", "train.min_steps=null", "train.batch_size=8")
IMAGES = ("student.backbone=tiny_resnet", "foundation.backbone=tiny_resnet_wide")
SETTINGS = {
    "folders": IMAGES, "dicom": IMAGES, "multilabel": IMAGES, "ci": IMAGES,
    "network": (),
    "nifti": ("image.size=[16,8,8]", "foundation.epochs=1"),
    "transactions": ("student.backbone='ragformer:width=8,layers=1,heads=2'", "train.epochs=1"),
}  # fmt: skip
"""A page trains for an hour; a test does not."""


def blocks(text: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.M | re.S)


def short(page: str, words: list[str]) -> list[str]:
    """Return a command of a page with small networks, few steps and short measurements."""
    if words[0] == "train":
        settings = [f"--set={one}" for one in (*SMALL, *SETTINGS[page])]
        return [*words, *settings]
    return [*words, "--max-seconds", "0.3"] if words[0] in ("bench", "gate") else words


def walk(page: str, root: Path, capsys: pytest.CaptureFixture[str]) -> str:
    """Write the files of a page, run its commands, and return what the last one printed."""
    text = (PAGES / f"{page}.md").read_text(encoding="utf-8")
    getattr(journey_files, page)(root)
    for name in blocks(text, "text")[0].split():
        assert (root / name).is_file(), f"{name} is not among the files of {page}"
    told = ""
    for line in "".join(blocks(text, "console")).splitlines():
        words = shlex.split(line)
        assert words[0] == "decompose"
        capsys.readouterr()
        code = run_command_line(short(page, words[1:]))
        told, said = capsys.readouterr()
        assert code in ((0, 1, 3) if words[1] == "gate" else (0,)), f"{line}: exit {code}\n{said}"
    for name in re.findall(r"^\| `([^`]*\.\w+)` \|", text, re.M):
        assert list(root.glob(name.replace("<id>", "*"))), f"{name} was not written"
    return told


@pytest.fixture
def journey(
    architectures_known_once: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[[str], str]:
    """Run the commands of a page in an empty directory."""
    monkeypatch.chdir(tmp_path)
    register_tiny(monkeypatch.setitem)
    for name, value in (("_WIDTHS", (4, 8, 16, 32)), ("UNet.maps_dim", 4), ("UNet.feature_dim", 32)):
        monkeypatch.setattr(f"lorkit.decompose.models.backbones.unets.unet.{name}", value)
    monkeypatch.setattr("lorkit.decompose.extraction.expert_builder.write_program", lambda *_, **__: None)
    # the time and memory of exports: few samples, and no process for each export
    monkeypatch.setattr(measurements, "_SECONDS_PER_EXPORT", 0.1)
    monkeypatch.setattr(
        benchmark, "footprints", lambda paths, **setting: [footprint.measure(path, **setting) for path in paths]
    )
    return lambda page: walk(page, tmp_path, capsys)


def test_every_page_has_files_and_settings() -> None:
    assert {path.stem for path in PAGES.glob("*.md")} == set(SETTINGS)


@pytest.mark.parametrize("page", ["folders", "multilabel", "network"])
def test_a_page_runs_as_written(page: str, journey: Callable[[str], str]) -> None:
    journey(page)


def test_no_file_has_the_id_of_a_patient_of_dicom(journey: Callable[[str], str]) -> None:
    journey("dicom")
    assert stat.S_IMODE(Path("runs/.patient-key").stat().st_mode) == 0o600
    kept = [path for path in Path("runs").rglob("*") if path.is_file() and path.name != ".patient-key"]
    assert kept
    assert not any(b"tumour1" in path.read_bytes() for path in kept)


def test_masks_have_the_geometry_of_their_volume(journey: Callable[[str], str]) -> None:
    import nibabel as nib

    journey("nifti")
    volume, mask = (nib.load(path) for path in ("new/case.nii.gz", "masks/case.nii.gz"))
    assert mask.shape == volume.shape
    assert (mask.affine == volume.affine).all()


def test_transactions_are_scored_and_labelled(journey: Callable[[str], str]) -> None:
    pytest.importorskip("polars")
    scored, labelled = map(json.loads, journey("transactions").splitlines())
    assert (scored["id"], set(scored["probabilities"]), labelled["recorded"]) == ("p-1", {"0", "1"}, True)


def test_a_new_version_is_compared_with_the_stored_one(journey: Callable[[str], str]) -> None:
    journey("ci")
    assert len(list_runs()) == 2
    record = json.loads(Path("baselines/baselines.json").read_text(encoding="utf-8"))
    newest = json.loads((list_runs()[0] / "measurements" / "gate.json").read_text(encoding="utf-8"))
    (known,) = record["current"].values()
    assert known in json.dumps(newest["regions"]["scans"]), "the gate of the second run judged against the first"
