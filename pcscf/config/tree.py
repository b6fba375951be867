"""YAML as a tree in which every key and value knows its file and line.

Built from parser events, so a hostile file costs no more than its limits allow: size, depth, number of values (aliases
expanded). Plain words follow the YAML 1.2 core rules: `no` is a word, `010` is refused, only true and false are truth.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, TypeAlias

import yaml

from pcscf.errors import ConfigError

MAX_SIZE = 1_048_576
MAX_DEPTH = 32
TOO_DEEP = f"is nested deeper than {MAX_DEPTH} levels"
MAX_VALUES = 50_000

Scalar: TypeAlias = str | int | float | bool | None
Path: TypeAlias = tuple[str | int, ...]

_INTEGER = re.compile(r"[-+]?(?:0|[1-9][0-9]*)")
_FLOAT = re.compile(r"[-+]?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][-+]?[0-9]+)?")
_OCTAL = re.compile(r"0[0-9]+")
_WORDS: dict[str, Scalar] = {"": None, "~": None, "null": None, "true": True, "false": False}
_YAML_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class Place(NamedTuple):
    """A file and a 1-based line; line 0 is the whole of it."""

    file: str
    line: int


class Entry(NamedTuple):
    """The value of a mapping's key, and where the key stands."""

    key: Place
    node: Node


@dataclass(frozen=True, slots=True)
class Node:
    """A value and where it begins."""

    place: Place
    value: Scalar | dict[str, Entry] | list[Node]


def read_tree(data: bytes, file: str) -> Node:
    """Reads one YAML document whose top is a mapping. Raises ConfigError with file and line."""
    tree = _parse(_text(data, file), file)
    if not isinstance(tree.value, dict):
        raise ConfigError("the file must hold `key: value` lines", file=file, line=tree.place.line or 1)
    return tree


def plain(tree: Node) -> Any:
    """The tree as dictionaries, lists and scalars. Raises ConfigError when aliases make it grow beyond MAX_VALUES."""
    return _plain(tree, iter(range(MAX_VALUES)))


def overlay(tree: Node, assignment: str) -> Node:
    """`key.path=value` put over the tree: a new tree. List elements are named by number; one past the last appends."""
    source = Place(f"--set {assignment}", 0)
    path, equals, text = assignment.partition("=")
    keys = path.strip().split(".")
    if not equals or not all(keys):
        raise ConfigError(
            "is not KEY.PATH=VALUE",
            file=source.file,
            hint="write e.g. --set listeners.gm-udp.port=5062, or policies.0.…",
        )
    try:
        value = _parse(_text(text.encode(), source.file), source.file)
    except ConfigError as error:
        raise ConfigError(error.what, file=source.file, hint=error.hint) from None
    return _assign(tree, keys, _moved(value, source), source)


def place_of(tree: Node, path: Path) -> Place:
    """Where the value at `path` stands: the line of its key. Steps that are not in the tree are skipped."""
    place = tree.place
    for step in path:
        if isinstance(tree.value, dict) and isinstance(step, str) and step in tree.value:
            place, tree = tree.value[step]
        elif isinstance(tree.value, list) and isinstance(step, int) and step < len(tree.value):
            tree = tree.value[step]
            place = tree.place
    return place


def _text(data: bytes, file: str) -> str:
    if len(data) > MAX_SIZE:
        raise ConfigError(f"is larger than {MAX_SIZE} octets", file=file, hint="this is hardly a configuration file")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ConfigError("is not UTF-8 text", file=file, line=line, hint="save the file in UTF-8") from None


def _parse(text: str, file: str) -> Node:
    events = _events(text, file)
    first = next(events, None)
    if first is None:
        return Node(Place(file, 0), None)
    tree = _node(first, events, {}, file, 1)
    extra = next(events, None)
    if extra is not None:
        raise ConfigError(
            "a second document begins here", file=file, line=extra.start_mark.line + 1, hint="remove the --- line"
        )
    return tree


def _events(text: str, file: str) -> Iterator[Any]:
    """The events that carry content. A parser's complaint becomes a ConfigError."""
    try:
        for event in yaml.parse(text, Loader=_YAML_LOADER):
            if isinstance(event, yaml.NodeEvent | yaml.CollectionEndEvent):
                yield event
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise ConfigError(f"has a control character: {error.reason}", file=file, line=line) from None
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = mark.line + 1 if mark else 0
        what, hint = _complaint(text, line, error)
        raise ConfigError(what, file=file, line=line, hint=hint) from None
    except yaml.YAMLError as error:
        raise ConfigError(f"is not YAML: {error}", file=file) from None


def _complaint(text: str, line: int, error: yaml.MarkedYAMLError) -> tuple[str, str]:
    lines = text.splitlines()
    if 0 < line <= len(lines):
        found = lines[line - 1]
        if "\t" in found[: len(found) - len(found.lstrip())]:
            return "a tab stands where YAML wants blanks", "indent with blanks only"
    what = ", ".join(part for part in (error.context, error.problem) if part)
    if "nesting depth" in what:   # PyYAML has a limit of its own, which what is read ahead can meet before ours
        return TOO_DEEP, ""
    return f"is not YAML: {what}", "look at the indentation, and put texts with : # { [ * & ! in quotes"


def _node(event: Any, events: Iterator[Any], anchors: dict[str, Node], file: str, depth: int) -> Node:
    place = Place(file, event.start_mark.line + 1)
    if depth > MAX_DEPTH:
        raise ConfigError(TOO_DEEP, file=file, line=place.line)
    if isinstance(event, yaml.AliasEvent):
        if event.anchor not in anchors:
            raise ConfigError(f"*{event.anchor} names nothing above", file=file, line=place.line)
        return anchors[event.anchor]
    if event.tag is not None:
        raise ConfigError(f"the tag {event.tag} has no meaning here", file=file, line=place.line, hint="remove it")
    if isinstance(event, yaml.ScalarEvent):
        node = Node(place, _scalar(event, place))
    elif isinstance(event, yaml.SequenceStartEvent):
        node = Node(place, [_node(each, events, anchors, file, depth + 1) for each in _until_end(events)])
    else:
        node = Node(place, _mapping(events, anchors, file, depth))
    if event.anchor is not None:
        anchors[event.anchor] = node
    return node


def _until_end(events: Iterator[Any]) -> Iterator[Any]:
    for event in events:
        if isinstance(event, yaml.CollectionEndEvent):
            return
        yield event


def _mapping(events: Iterator[Any], anchors: dict[str, Node], file: str, depth: int) -> dict[str, Entry]:
    entries: dict[str, Entry] = {}
    for event in _until_end(events):
        place = Place(file, event.start_mark.line + 1)
        if not isinstance(event, yaml.ScalarEvent):
            raise ConfigError("a key must be a word", file=file, line=place.line)
        key: str = event.value
        if key == "<<" and event.implicit[0]:
            raise ConfigError("<< (merge) is not supported", file=file, line=place.line, hint="write the keys out")
        if key in entries:
            before = entries[key].key.line
            raise ConfigError(
                f"`{key}` stands twice, first in line {before}", file=file, line=place.line, hint="keep one"
            )
        entries[key] = Entry(place, _node(next(events), events, anchors, file, depth + 1))
    return entries


def _scalar(event: yaml.ScalarEvent, place: Place) -> Scalar:
    text: str = event.value
    if not event.implicit[0]:
        return text
    if text in _WORDS:
        return _WORDS[text]
    if _OCTAL.fullmatch(text):
        raise ConfigError(
            f"{text} begins with a zero",
            file=place.file,
            line=place.line,
            hint=f'write {text.lstrip("0") or "0"}, or "{text}" for text',
        )
    if _INTEGER.fullmatch(text) and len(text) <= 20:
        return int(text)
    return float(text) if _FLOAT.fullmatch(text) else text


def _plain(node: Node, budget: Iterator[int]) -> Any:
    if next(budget, None) is None:
        raise ConfigError(
            f"holds more than {MAX_VALUES} values", file=node.place.file, hint="use fewer aliases (*name)"
        )
    if isinstance(node.value, dict):
        return {key: _plain(entry.node, budget) for key, entry in node.value.items()}
    if isinstance(node.value, list):
        return [_plain(each, budget) for each in node.value]
    return node.value


def _moved(node: Node, place: Place) -> Node:
    if isinstance(node.value, dict):
        return Node(place, {key: Entry(place, _moved(entry.node, place)) for key, entry in node.value.items()})
    if isinstance(node.value, list):
        return Node(place, [_moved(each, place) for each in node.value])
    return replace(node, place=place)


def _assign(tree: Node, keys: list[str], value: Node, source: Place) -> Node:
    if not keys:
        return value
    key, rest = keys[0], keys[1:]
    if isinstance(tree.value, dict):
        below = tree.value[key] if key in tree.value else Entry(source, Node(source, None))
        changed = _assign(below.node, rest, value, source)
        return replace(tree, value={**tree.value, key: Entry(below.key if rest else source, changed)})
    if isinstance(tree.value, list):
        return replace(tree, value=_assign_element(tree.value, key, rest, value, source))
    if tree.value is None and key.isdecimal():
        return Node(source, _assign_element([], key, rest, value, source))
    if tree.value is None:
        return Node(source, {key: Entry(source, _assign(Node(source, None), rest, value, source))})
    raise ConfigError(
        f"there is no `{key}` below {tree.value!r}",
        file=source.file,
        hint="the path leads through a value that is not a mapping",
    )


def _assign_element(elements: list[Node], key: str, rest: list[str], value: Node, source: Place) -> list[Node]:
    if not key.isdecimal() or int(key) > len(elements):
        count = len(elements)
        raise ConfigError(
            f"`{key}` is no element of a list of {count}",
            file=source.file,
            hint=f"write a number from 0 to {count} ({count} appends)",
        )
    index = int(key)
    before = elements[index] if index < len(elements) else Node(source, None)
    return [*elements[:index], _assign(before, rest, value, source), *elements[index + 1 :]]
