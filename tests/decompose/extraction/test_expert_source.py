from __future__ import annotations

from lorkit import __version__
from lorkit.decompose.extraction.expert_source import from_teachers, source_of
from lorkit.decompose.runs import Run


def test_it_names_the_run_by_its_digest_and_no_directory(small_run: Run) -> None:
    source = source_of(small_run, small_run.regions.names)
    assert source.run == "small"
    assert source.run_manifest == small_run.manifest.digest
    assert (source.method, source.foundation_backbone, source.lorkit) == ("lorkd", "tiny", __version__)
    assert str(small_run.path.parent) not in str(source.to_json())


def test_several_teachers_are_stated_for_the_regions_of_the_network(small_run: Run) -> None:
    name, other = small_run.regions.names[:2]
    rows = [
        {
            "backbone": kind,
            "digest": 64 * "0",
            "source": {},
            "val": {name: 0.9, other: 0.8},
            "share": {name: 0.25, other: 1},
        }
        for kind in ("resnet34", "resnet50")
    ]
    assert "teachers" not in source_of(small_run, [name]).to_json()
    small_run.manifest.extra["teachers"] = rows
    source = source_of(small_run, [name])
    assert [row.to_json()["share"] for row in source.teachers] == [{name: 0.25}, {name: 0.25}]
    assert from_teachers(source) == (
        f", teachers with their shares by validation resnet34 ({name} 0.25), resnet50 ({name} 0.25)"
    )
