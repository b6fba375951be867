"""The reference of every key, made from the models.

`python -m pcscf.config.reference > docs/reference/configuration.md` renews the page.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, NamedTuple, Union, get_args, get_origin, get_type_hints

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from pcscf.config.gateway import GatewayFile
from pcscf.config.model import Config
from pcscf.config.values import Word

HEAD = """\
# Configuration reference

This page is made from the models (`python -m pcscf.config.reference`); a test keeps it true. `policies/default.yaml`
shows the same keys in their place. In a key, `NAME` stands for a name that you choose (`ACCESS-NAME`, `CORE-NAME`: of a
realm on that side) and `N` for an element of a list. Every value can also be given on the command line:
`--set KEY.PATH=VALUE`. Times are seconds.

The file is YAML in UTF-8. Only `true` and `false` are truth values. Unknown keys, keys that stand twice, wrong types
and values out of range are refused with file and line; `pcscf check FILE` tells them all at once.
"""
PLAIN = {bool: "true or false", int: "whole number", float: "number", str: "text", NoneType: "null"}


class Row(NamedTuple):
    """One key: path, kind of value, default ("required" when there is none), meaning."""

    key: str
    kind: str
    default: str
    meaning: str


def reference() -> str:
    """The whole page as Markdown."""
    return "\n".join(
        [
            HEAD,
            "## The P-CSCF: `pcscf run FILE`\n",
            *_table(Config),
            "",
            "## A gateway on its own: `pcscf gateway FILE`\n",
            *_table(GatewayFile),
            "",
        ]
    )


def rows(model: type[BaseModel], prefix: str = "") -> Iterator[Row]:
    """Every key of the model and of the blocks below it."""
    kinds = get_type_hints(model, include_extras=True)
    for name, field in model.model_fields.items():
        key = f"{prefix}{name}"
        blocks = list(_blocks(kinds[name]))
        meaning = field.description or (blocks[0][1].__doc__ or "").partition("\n")[0]
        yield Row(key, kind(kinds[name]), _default(field, nested=bool(blocks)), " ".join(meaning.split()))
        for path, block in blocks:
            yield from rows(block, f"{key}.{_tag(block)}{path}")


def kind(annotation: Any) -> str:
    """What kind of value an annotation asks for, in words."""
    if get_origin(annotation) is Annotated:
        inner, *notes = get_args(annotation)
        return next((note.text for note in notes if isinstance(note, Word)), None) or kind(inner)
    if get_origin(annotation) is Literal:
        return ", ".join(f"`{choice}`" for choice in get_args(annotation))
    if get_origin(annotation) in (Union, UnionType):
        return " or ".join(dict.fromkeys(kind(part) for part in get_args(annotation)))
    if get_origin(annotation) is tuple:
        return f"list of {kind(get_args(annotation)[0])}"
    if get_origin(annotation) is Mapping or (isinstance(annotation, type) and issubclass(annotation, BaseModel)):
        return "mapping"
    return PLAIN[annotation]


def _blocks(annotation: Any, path: str = "") -> Iterator[tuple[str, type[BaseModel]]]:
    origin, parts = get_origin(annotation), get_args(annotation)
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield path, annotation
    elif origin is Mapping:
        yield from _blocks(parts[1], f"{path}NAME.")
    elif origin is tuple:
        yield from _blocks(parts[0], f"{path}N.")
    elif origin in (Annotated, Union, UnionType):
        for part in parts if origin is not Annotated else parts[:1]:
            yield from _blocks(part, path)


def _tag(block: type[BaseModel]) -> str:
    side = block.model_fields.get("side")
    return f"{get_args(side.annotation)[0].upper()}-" if side else ""


def _default(field: FieldInfo, *, nested: bool) -> str:
    if field.is_required():
        return "required"
    if nested or field.default_factory is not None:
        return ""
    value = field.default
    if isinstance(value, bool) or value is None:
        return {True: "`true`", False: "`false`", None: "`null`"}[value]
    if isinstance(value, tuple):
        return f"`[{', '.join(value)}]`"
    return f"`{value:g}`" if isinstance(value, float) else f"`{value}`"


def _table(model: type[BaseModel]) -> Iterator[str]:
    yield "| Key | Value | Default | Meaning |"
    yield "|---|---|---|---|"
    for row in rows(model):
        meaning = row.meaning.replace("|", "\\|")
        yield f"| `{row.key}` | {row.kind} | {row.default} | {meaning} |"


if __name__ == "__main__":
    sys.stdout.write(reference())
