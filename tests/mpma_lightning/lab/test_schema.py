"""The JSON schema of a sweep file: kept in docs/, and as the parser reads."""

import json
from pathlib import Path

import pytest
import yaml

from data_modules.yaml_files import WordsStay, read_yaml
from mpma_lightning.lab.sweeps.schema import sweep_schema

ROOT = Path(__file__).parents[3]
SHIPPED = sorted((ROOT / "experiments" / "sweeps").glob("*.yaml"))


def unknown(content: object, schema: dict) -> list[str]:
    """Keys of ``content`` that ``schema`` does not know, and those that it lacks."""
    if "anyOf" in schema:
        return min(
            (unknown(content, one) for one in schema["anyOf"]), key=lambda found: ("is no" in "".join(found), found)
        )
    kinds = {"object": dict, "array": list, "string": str, "integer": int, "number": (int, float), "null": type(None)}
    if not isinstance(content, kinds[schema["type"]]):  # type: ignore[arg-type]
        return [f"{content!r} is no {schema['type']}"]
    if not isinstance(content, dict):
        return []
    found = [f"lacks {key}" for key in schema.get("required", []) if key not in content]
    for key, value in content.items():
        more = schema["additionalProperties"]
        inner = schema.get("properties", {}).get(key, more if isinstance(more, dict) else None)
        if inner is None and more is False:
            found.append(str(key))
        found += unknown(value, inner) if inner else []
    return found


def test_value_the_schema_in_docs_is_of_these_classes() -> None:
    assert json.loads((ROOT / "docs" / "sweep.schema.json").read_text()) == sweep_schema()


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_value_shipped_sweeps_are_as_it_says(path: Path) -> None:
    assert unknown(read_yaml(path, WordsStay), sweep_schema()) == []


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("{seeds: 0}", "lacks stages"),
        ("{stages: {a: {experimant: x}}}", "experimant"),
        ("{stages: {a: {methods: {m: {sett: {}}}}}}", "sett"),
        ("{stages: {a: {}}, search: {metric: m}}", "lacks space"),
        ("{stages: {a: {}}, cluster: {scale: 2}}", "lacks class_path"),
        ("{stages: {a: {grid: 1}}}", "1 is no object"),
    ],
)
def test_error_it_refuses_what_the_parser_refuses(text: str, says: str) -> None:
    assert unknown(yaml.safe_load(text), sweep_schema()) == [says]
