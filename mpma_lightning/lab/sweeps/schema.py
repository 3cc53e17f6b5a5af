"""The JSON schema of a sweep file, made of the classes that read it: editors complete and check a file by it.

``python -m mpma_lightning.lab.sweeps.schema > docs/sweep.schema.json`` writes it again.
"""

import json
from dataclasses import MISSING, fields
from typing import Any, get_type_hints

import docstring_parser
from pydantic import TypeAdapter

from mpma_lightning.cli.engine import Cluster
from mpma_lightning.lab.sweeps.plan import Method, Stage, Sweep
from mpma_lightning.lab.sweeps.search import Options


def sweep_schema() -> dict[str, Any]:
    """``$schema``, and every key with its type and text."""
    files = {"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]}
    method = {"anyOf": [*files["anyOf"], _object(Method), {"type": "null"}]}
    stage = _object(Stage, methods={"type": "object", "additionalProperties": method})
    stages = {"type": "object", "minProperties": 1, "additionalProperties": stage}
    no_file_says = ("path", "trusted", "trials")
    schema = _object(Sweep, no_file_says, stages=stages, search=_object(Options), cluster=_object(Cluster))
    made = {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "A sweep file", **schema}
    return {**made, "required": ["stages"]}


def _object(kind: type, without: tuple[str, ...] = (), **inner: dict[str, Any]) -> dict[str, Any]:
    """The schema of a dataclass, with its docstring's texts; ``inner`` are the schemas of some of its keys."""
    texts: dict[str, str] = {}
    for entry in docstring_parser.parse(kind.__doc__ or "").params:
        texts |= dict.fromkeys(
            entry.arg_name.split(", "), " ".join((entry.description or "").replace("``", "`").split())
        )
    types: dict[str, Any] = get_type_hints(kind)
    said = [field for field in fields(kind) if field.name not in without]
    properties = {
        field.name: {
            **inner.get(field.name, TypeAdapter(types[field.name]).json_schema()),
            "description": texts[field.name],
        }
        for field in said
    }
    needed = [field.name for field in said if field.default is field.default_factory is MISSING]
    return {"type": "object", "properties": properties, "required": needed, "additionalProperties": False}


if __name__ == "__main__":
    print(json.dumps(sweep_schema(), indent=1))
