"""From a file to a frozen configuration, or to all that is wrong with it: file, line, what, what to write instead."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any, TypeAlias, TypeVar, get_args

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from pcscf.config.findings import (
    Finding,
    contradictions,
    missing_certificates,
    missing_files,
    missing_transports,
    warnings,
)
from pcscf.config.gateway import GatewayFile
from pcscf.config.model import Config
from pcscf.config.tree import MAX_SIZE, Node, overlay, place_of, plain, read_tree
from pcscf.errors import ConfigError

POLICIES = Path(__file__).parent / "policies"
"""The configurations that come with the package, each with its tests: default, lab, rcs, strict."""

AnyModel = TypeVar("AnyModel", bound=BaseModel)
Steps: TypeAlias = tuple[str | int, ...]

_TYPES = {
    "string_type": ("must be text", 'put it in quotes: "…"'),
    "int_type": ("must be a whole number", "write digits only, without quotes"),
    "int_from_float": ("must be a whole number", "write digits only"),
    "float_type": ("must be a number", "write digits, without quotes or unit"),
    "finite_number": ("must be a number", "write a finite number"),
    "bool_type": ("must be true or false", "write true or false, without quotes"),
    "model_type": ("must be a mapping", "write `key: value` lines below it"),
    "model_attributes_type": ("must be a mapping", "write `key: value` lines below it"),
    "mapping_type": ("must be a mapping", "write `key: value` lines below it"),
    "dict_type": ("must be a mapping", "write `key: value` lines below it"),
    "tuple_type": ("must be a list", "write [one, two], or one `- item` line each"),
    "is_instance_of": ("must be text", 'put it in quotes: "…"'),
    "too_short": ("must not be empty", "add at least one entry"),
    "union_tag_not_found": ("has no `side`", "add `side: access` or `side: core`"),
    "union_tag_invalid": ("has an unknown `side`", "write access or core"),
}
_BOUNDS = {
    "greater_than": "must be more than {gt:g}",
    "greater_than_equal": "must be at least {ge:g}",
    "less_than": "must be less than {lt:g}",
    "less_than_equal": "must be at most {le:g}",
    "string_pattern_mismatch": "must look like {pattern}",
}


class ConfigErrors(ConfigError):
    """Everything that is wrong with one configuration, in the order of the file."""

    def __init__(self, errors: Sequence[ConfigError]) -> None:
        self.errors = tuple(errors)
        first = self.errors[0]
        super().__init__(first.what, file=first.file, line=first.line, hint=first.hint)

    def __str__(self) -> str:
        return "\n".join(str(error) for error in self.errors)


def load_config(path: Path, overrides: Sequence[str] = ()) -> Config:
    """Reads the P-CSCF's configuration, with `key.path=value` overrides on top. Raises ConfigErrors."""
    return check_config(path, overrides)[0]


def load_gateway(path: Path, overrides: Sequence[str] = ()) -> GatewayFile:
    """Reads the configuration of a stand-alone gateway. Raises ConfigErrors."""
    file, tree = load_model(path, GatewayFile, overrides)
    transports = missing_transports([file.iq.transport], ("iq", "transport"))
    _refuse(tree, [*transports, *missing_certificates(file.certificates, ("certificates",))])
    return file


def load_rules(path: Path) -> Config:
    """The P-CSCF's configuration as far as it decides: the files that it names need not be there. Raises ConfigErrors."""
    config, tree = load_model(path, Config)
    _refuse(tree, contradictions(config))
    return config


def check_config(path: Path, overrides: Sequence[str] = ()) -> tuple[Config, list[ConfigError]]:
    """The configuration and the warnings about it. Raises ConfigErrors."""
    config, tree = load_model(path, Config, overrides)
    transports = missing_transports(config.gateways.iq.transport, ("gateways", "iq", "transport"))
    _refuse(tree, [*contradictions(config), *transports, *missing_files(config)])
    return config, [_error(tree, finding) for finding in warnings(config)]


def load_model(path: Path, model: type[AnyModel], overrides: Sequence[str] = ()) -> tuple[AnyModel, Node]:
    """Any YAML file as a `model`, and the tree that knows its lines (`place_of`). Raises ConfigErrors."""
    try:
        tree = read_tree(_read(path), str(path))
        for assignment in overrides:
            tree = overlay(tree, assignment)
        data = plain(tree)
    except ConfigError as error:
        raise ConfigErrors([error]) from None
    return read_model(data, model, tree, path.parent), tree


def read_model(data: Any, model: type[AnyModel], tree: Node, directory: Path) -> AnyModel:
    """`data` as a `model`; `tree` tells where its values stand, files are looked for in `directory`. Raises ConfigErrors."""
    try:
        return model.model_validate(data, context={"directory": directory})
    except ValidationError as error:
        _refuse(tree, list(_explain(error.errors(include_url=False), model, data)))
        raise


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(MAX_SIZE + 1)
    except OSError as error:
        raise ConfigError(
            f"cannot be read: {(error.strerror or str(error)).lower()}",
            file=str(path),
            hint="check the path and the permissions",
        ) from None


def _refuse(tree: Node, findings: Iterable[Finding]) -> None:
    errors = [_error(tree, finding) for finding in findings]
    if errors:
        raise ConfigErrors(sorted(errors, key=lambda error: (error.file, error.line)))


def _error(tree: Node, finding: Finding) -> ConfigError:
    place = place_of(tree, finding.path)
    named = ".".join(str(step) for step in finding.path)
    what = f"{named}: {finding.what}" if named else finding.what
    return ConfigError(what, file=place.file, line=place.line, hint=finding.hint)


def _explain(errors: Sequence[ErrorDetails], model: type[BaseModel], data: Any) -> Iterator[Finding]:
    """Each complaint of the model as a sentence. A key that is missing because it was misspelt is told once."""
    meant: set[Steps] = set()
    absent = {error["loc"] for error in errors if error["type"] == "missing"}
    for error in errors:
        if error["type"] == "extra_forbidden":
            parent, key = error["loc"][:-1], str(error["loc"][-1])
            fields = _fields_at(model, parent)
            close = get_close_matches(key, fields, n=3, cutoff=0.5)
            close.sort(key=lambda name: (*parent, name) not in absent)
            meant.update((*parent, name) for name in close[:1])
            hint = f"did you mean `{close[0]}`?" if close else f"keys here are: {', '.join(fields)}"
            yield Finding(_in_file(error["loc"], data), "unknown key", hint)
    for error in errors:
        if error["type"] not in ("extra_forbidden", "default_factory_not_called") and error["loc"] not in meant:
            yield Finding(_in_file(error["loc"], data, missing=error["type"] == "missing"), *_sentence(error, model))


def _sentence(error: ErrorDetails, model: type[BaseModel]) -> tuple[str, str]:
    kind, context = error["type"], error.get("ctx", {})
    if kind == "pcscf":
        return context["what"], context["hint"]
    if kind == "missing":
        field = _fields_at(model, error["loc"][:-1]).get(str(error["loc"][-1]))
        return "is missing", _one_line(field.description or "") if field else ""
    if kind == "literal_error":
        choices = context["expected"].replace("'", "")
        return f"cannot be {error['input']!r}", f"write {choices}"
    if kind in _TYPES:
        return _TYPES[kind]
    if kind in _BOUNDS:
        return _BOUNDS[kind].format(**context), f"it is {error['input']!r} now"
    return error["msg"], ""


def _in_file(loc: tuple[Any, ...], data: Any, *, missing: bool = False) -> Steps:
    """The path as a person wrote it: a model's own steps (a union's tag, a mark for keys) are left out."""
    path: list[str | int] = []
    for step in loc:
        if step in data if isinstance(data, dict) else isinstance(data, list):
            path.append(step)
            data = data[step]
    return (*path, *loc[-1:]) if missing else tuple(path)


def _fields_at(model: type[BaseModel], loc: Steps) -> dict[str, FieldInfo]:
    """The keys that the model knows at a place."""
    blocks = [model]
    for step in loc:
        below = [block.model_fields[step] for block in blocks if step in block.model_fields]
        if below:
            blocks = [each for field in below for each in _blocks_in(field.annotation)]
        else:
            tagged = [block for block in blocks if step in _tags(block)]
            blocks = tagged or blocks
    return {field.alias or name: field for block in blocks for name, field in block.model_fields.items()}


def _blocks_in(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for part in get_args(annotation):
        yield from _blocks_in(part)


def _tags(block: type[BaseModel]) -> tuple[object, ...]:
    return get_args(block.model_fields["side"].annotation) if "side" in block.model_fields else ()


def _one_line(text: str) -> str:
    return " ".join(text.split())
