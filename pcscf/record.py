"""Records: plain data that nobody changes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar, dataclass_transform

T = TypeVar("T")


@dataclass_transform(frozen_default=True)
def record(cls: type[T]) -> type[T]:
    """A dataclass that nobody changes: records are shared by caches and used as keys.

    The type checker enforces that; at run time it would triple the cost of making one, and a call makes a hundred of them.
    For the same reason what runs for every message binds members of an Enum to names of its own: in Python 3.11
    `Mode.INACTIVE` is a function call.
    """
    return dataclass(slots=True, unsafe_hash=True)(cls)
