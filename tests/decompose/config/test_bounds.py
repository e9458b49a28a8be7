"""Every number of a configuration has a smallest and a largest value."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from lorkit.decompose.config import Config, default_config
from lorkit.decompose.errors import UsageError

LOW, HIGH = ("minimum", "exclusiveMinimum"), ("maximum", "exclusiveMaximum")


def numbers(schema: dict[str, Any], node: Any, path: str, seen: tuple[str, ...] = ()) -> Iterator[tuple[str, Any]]:
    """Yield the schema of each number below a node, with its keys."""
    if "$ref" in node:
        name = node["$ref"].rpartition("/")[2]
        if name not in seen:
            yield from numbers(schema, schema["$defs"][name], path, (*seen, name))
        return
    if node.get("type") in ("integer", "number") and "const" not in node and "enum" not in node:
        yield path, node
    for key, inner in node.get("properties", {}).items():
        yield from numbers(schema, inner, f"{path}.{key}".removeprefix("."), seen)
    inside = [*node.get("anyOf", ()), *node.get("oneOf", ()), *node.get("prefixItems", ())]
    inside += [node[key] for key in ("items", "additionalProperties") if isinstance(node.get(key), dict)]
    for inner in inside:
        yield from numbers(schema, inner, path, seen)


def test_every_number_has_bounds() -> None:
    schema = Config.model_json_schema(mode="validation")
    found = list(numbers(schema, schema, ""))
    assert len(found) > 120
    both = [any(key in node for key in LOW) and any(key in node for key in HIGH) for _, node in found]
    unbounded = [path for (path, _), bounded in zip(found, both, strict=True) if not bounded]
    assert not unbounded


@pytest.mark.parametrize(
    ("setting", "required"),
    [
        ("train.batch_size=10000000", "less than or equal to 1000000"),
        ("train.epochs=1000000000", "less than or equal to 100000"),
        ("train.lr=1e6", "less than or equal to 1000"),
        ("lorkd.rank=1000000", "less than or equal to 4096"),
        ("image.size=100000", "less than or equal to 65536"),
        ("image={size: [5000, 5000]}", "each side of size between 8 and 4096"),
        ("rd.hidden=1000000", "less than or equal to 16384"),
        ("graph.hops=50", "less than or equal to 16"),
        ("seed=99999999999999999999", "less than 2147483648"),
        ("kd.temperature=1e300", "less than or equal to 1000"),
        ("regions.chest.threshold={cost: 1e300}", "up to 1e9"),
        ("regions.chest.nsd_tolerance_mm=10000.0", "less than or equal to 1000"),
        ("regions.chest.nsd_tolerance_mm=.inf", "a finite number"),
    ],
)
def test_what_is_beyond_is_refused_with_the_bound(setting: str, required: str) -> None:
    with pytest.raises(UsageError) as caught:
        default_config(overrides=[setting])
    assert required in str(caught.value)
    assert setting.split("=")[0] in str(caught.value)
