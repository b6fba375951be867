"""Records: plain data that nobody changes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar, dataclass_transform

T = TypeVar("T")


@dataclass_transform(frozen_default=True)
def record(cls: type[T]) -> type[T]:
    """A dataclass that nobody changes: records are shared and used as keys.

    The type checker enforces that; at run time it would multiply the cost of making one, and every call makes some ten.
    """
    return dataclass(slots=True, unsafe_hash=True)(cls)
