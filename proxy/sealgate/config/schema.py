"""The JSON Schema of the configuration file. Every key's description is the docstring below it.

Those are read from the source here, when somebody asks: pydantic would do that at every start, which took an
eighth of it.
"""

from __future__ import annotations

import ast
import inspect
import sys
from collections.abc import Iterator
from typing import Any, Final

from sealgate.config.section import Section
from sealgate.config.settings import Settings

_DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"


def json_schema() -> dict[str, Any]:
    """The schema of `Settings` as a document of its own."""
    schema = Settings.model_json_schema(mode="serialization")
    objects = {Settings.__name__: schema, **schema.get("$defs", {})}
    for section in _sections(Section):
        properties = objects.get(section.__name__, {}).get("properties", {})
        for name, description in _descriptions(section).items():
            key = section.model_fields[name].alias or name
            if key in properties:
                properties[key]["description"] = description
    return {"$schema": _DIALECT} | schema


def _sections(parent: type[Section]) -> Iterator[type[Section]]:
    for section in parent.__subclasses__():
        yield section
        yield from _sections(section)


def _descriptions(section: type[Section]) -> dict[str, str]:
    """Of the fields of a section, those it inherits included."""
    found: dict[str, str] = {}
    for kind in reversed(section.__mro__):
        if issubclass(kind, Section) and kind is not Section:
            found |= _docstrings(kind)
    return {name: text for name, text in found.items() if name in section.model_fields}


def _docstrings(section: type[Section]) -> dict[str, str]:
    """The strings that stand below the fields in the class's own text."""
    module = ast.parse(inspect.getsource(sys.modules[section.__module__]))
    found: dict[str, str] = {}
    for node in module.body:
        if not isinstance(node, ast.ClassDef) or node.name != section.__name__:
            continue
        for field, below in zip(node.body, node.body[1:], strict=False):
            if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name):
                text = _string(below)
                if text is not None:
                    found[field.target.id] = inspect.cleandoc(text)
    return found


def _string(node: ast.stmt) -> str | None:
    """What `node` says, if it is a string and nothing else."""
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
        return node.value.value if isinstance(node.value.value, str) else None
    return None
