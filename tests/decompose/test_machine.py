import json

from lorkit.decompose.machine import ISA_FLAGS, fingerprint, tool_versions


def test_fingerprint_is_plain_data_that_names_this_machine() -> None:
    machine = json.loads(json.dumps(fingerprint()))
    assert machine["threads"] >= 1
    assert set(machine["flags"]) <= set(ISA_FLAGS)
    assert machine["cpu"]


def test_versions_name_the_libraries_that_change_results() -> None:
    assert tool_versions()["torch"]
