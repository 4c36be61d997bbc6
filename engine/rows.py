"""Values to rows and back: instants are BIGINT microseconds UTC, mappings and tuples JSON text, yes and no 1 and 0. A row may
hold more columns than its value has fields (a newer version's), and nothing is lost on the way."""

from __future__ import annotations

import dataclasses
import functools
import json
import operator
import types
import typing
from collections.abc import Callable, Hashable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any, cast

from engine.core.model import Person

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)


def micros(at: datetime) -> int:
    """Microseconds since 1970 in UTC. `at` must be aware."""
    return (at - EPOCH) // MICROSECOND


def instant(value: int) -> datetime:
    """The aware UTC datetime of a number of microseconds."""
    return EPOCH + value * MICROSECOND


def _same(value: Any) -> Any:
    return value


#: Made once: `json.dumps` makes one each time that it is asked for anything but the usual.
_dump = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


def _load(text: str) -> Any:
    """Most of them are empty."""
    return {} if text == "{}" else json.loads(text)


def _load_tuple(text: str) -> tuple[Any, ...]:
    return () if text == "[]" else tuple(json.loads(text))


def _plain(kind: Any) -> Any:
    """`datetime | None` is a datetime that may be missing; `Mapping[str, int]` is a Mapping."""
    if isinstance(kind, types.UnionType):
        kind = next(k for k in typing.get_args(kind) if k is not type(None))
    return typing.get_origin(kind) or kind


def _codec(kind: Any) -> tuple[Callable[[Any], Any], Callable[[Any], Any]]:
    if kind is datetime:
        return micros, instant
    if kind is Person:
        return lambda p: _dump(dataclasses.asdict(p)), lambda t: Person(**json.loads(t))
    if kind is Mapping:
        return lambda m: _dump(dict(m)), _load
    if kind is tuple:
        return lambda t: _dump(list(t)), _load_tuple
    if kind is bool:
        return int, bool
    if isinstance(kind, type) and issubclass(kind, StrEnum):
        return str, kind
    return _same, _same


@functools.cache
def _codecs(cls: Any) -> tuple[tuple[str, Callable[[Any], Any], Callable[[Any], Any]], ...]:
    hints = typing.get_type_hints(cls)
    return tuple((f.name, *_codec(_plain(hints[f.name]))) for f in dataclasses.fields(cls))


@functools.cache
def _written(cls: Any) -> list[tuple[str, Callable[[Any], Any]]]:
    return [(name, write) for name, write, _ in _codecs(cls) if write is not _same]


def row_of(value: Any) -> dict[str, Any]:
    """A value's fields as what the database takes."""
    row = dict(vars(value))
    for name, write in _written(cast(Hashable, type(value))):
        if row[name] is not None:
            row[name] = write(row[name])
    return row


def _reader(cls: Any) -> Callable[[tuple[str, ...]], Callable[[Sequence[Any]], Any]]:
    codecs = _codecs(cls)
    coded = [(place, read) for place, (_, _, read) in enumerate(codecs) if read is not _same]

    @functools.cache
    def among(columns: tuple[str, ...]) -> Callable[[Sequence[Any]], Any]:
        pick = operator.itemgetter(*(columns.index(name) for name, _, _ in codecs))

        def value_of(row: Sequence[Any]) -> Any:
            values = list(pick(row))
            for place, read in coded:
                if values[place] is not None:
                    values[place] = read(values[place])
            return cls(*values)

        return value_of

    return among


#: What makes values of such a class of rows with these columns; a column that the value does not have is left.
reader: Callable[[Any], Callable[[tuple[str, ...]], Callable[[Sequence[Any]], Any]]] = functools.cache(_reader)
