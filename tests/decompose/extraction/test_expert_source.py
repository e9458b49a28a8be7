from __future__ import annotations

from lorkit import __version__
from lorkit.decompose.extraction.expert_source import source_of
from lorkit.decompose.runs import Run


def test_it_names_the_run_by_its_digest_and_no_directory(small_run: Run) -> None:
    source = source_of(small_run)
    assert source.run == "small"
    assert source.run_manifest == small_run.manifest.digest
    assert (source.method, source.foundation, source.lorkit) == ("lorkd", "tiny", __version__)
    assert str(small_run.path.parent) not in str(source.to_json())
