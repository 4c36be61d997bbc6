"""How a file's plain values become typed ones: a Shape reads one value and says what an editor should know of it, a table
of Keys reads a mapping. Reading never stops at a problem; it notes where and what, and goes on, so that ops see
everything at once."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Generic, Literal, TypeVar

from engine.core.problem import Problem, did_you_mean, near
from engine.core.yaml_strict import Loc, Positions, locate

T = TypeVar("T")


@dataclass(frozen=True)
class Spot:
    """One value in a file, and where problems with it are noted. `who` begins the sentence: `step "remind"`.
    `is_key`: it is the key at `loc`, not the value there."""

    file: str
    value: Any
    positions: Positions
    problems: list[Problem]
    who: str
    loc: Loc = ()
    is_key: bool = False

    @property
    def line(self) -> int:
        return locate(self.positions, self.loc)[0]

    def child(self, part: str | int, who: str = "") -> Spot:
        return replace(self, value=self.value[part], loc=(*self.loc, part), who=who or self.who)

    def items(self) -> list[Spot]:
        return [self.child(index) for index in range(len(self.value))]

    def report(
        self, code: str, message: str, hint: str = "", severity: Literal["error", "warning"] = "error", at: str = ""
    ) -> None:
        """Note `who message; hint` at this value or, with `at`, at the key of that name in it."""
        loc = (*self.loc, at) if at else self.loc
        line, column = locate(self.positions, loc, key=bool(at) or self.is_key)
        self.problems.append(Problem(self.file, line, column, code, f"{self.who} {message}", hint, severity))


@dataclass(frozen=True)
class Shape(Generic[T]):
    """`read` gives the value, or None after it has reported why not. `schema` is the JSON Schema of what it takes."""

    read: Callable[[Spot], T | None]
    schema: Mapping[str, Any]


@dataclass(frozen=True)
class Key:
    """One key of a mapping, with the sentence that an editor and the docs show for it."""

    shape: Shape[Any]
    about: str
    required: bool = False


#: What other programs call a key.
_CALLED_ELSEWHERE = {
    **dict.fromkeys(("delay", "pause_for"), "wait"),
    **dict.fromkeys(("send", "mail", "message", "template"), "email"),
    **dict.fromkeys(("on", "events", "handlers"), "when"),
    **dict.fromkeys(("attachment", "attachments", "files"), "attach"),
    "wait": "after",
    "description": "about",
    "recipient": "to",
    "type": "kind",
    "condition": "if",
    "tests": "scenarios",
    "variables": "needs",
}


def _hint(key: str, keys: Mapping[str, Key]) -> str:
    other = _CALLED_ELSEWHERE.get(key.lower(), "")
    return f'did you mean "{other}"?' if other in keys and key.lower() not in keys else did_you_mean(key, keys)


def read_keys(spot: Spot, keys: Mapping[str, Key]) -> dict[str, Any]:
    """What could be read of a mapping, by key; an absent or broken value is left out and, if needed, reported."""
    if not isinstance(spot.value, dict):
        spot.report("type", f"takes {_listing(keys)}, not {shown(spot.value)}")
        return {}
    for key in (k for k in spot.value if k not in keys):
        spot.report("unknown-key", f'has no key "{key}"', _hint(key, keys), at=key)
    for key in (k for k, v in keys.items() if v.required and k not in spot.value):
        spot.report("missing-key", f'lacks "{key}"', keys[key].about)
    read = {key: keys[key].shape.read(spot.child(key)) for key in spot.value if key in keys}
    return {key: value for key, value in read.items() if value is not None}


def mapping_schema(keys: Mapping[str, Key], **more: Any) -> dict[str, Any]:
    """The JSON Schema of a mapping that `read_keys` reads."""
    properties = {name: {**key.shape.schema, "description": key.about} for name, key in keys.items()}
    required = [name for name, key in keys.items() if key.required]
    found = {"type": "object", "additionalProperties": False, "properties": properties, **more}
    return {**found, "required": required} if required else found


def shown(value: Any) -> str:
    """A value as a message quotes it."""
    if isinstance(value, dict | list):
        return "a mapping" if isinstance(value, dict) else "a list"
    if isinstance(value, str):
        return f'"{value if len(value) <= 60 else value[:57] + "..."}"'
    return "nothing" if value is None else json.dumps(value)


def wrong(spot: Spot, takes: str, hint: str = "") -> None:
    """Report that a key's value is of the wrong kind."""
    key = next((part for part in reversed(spot.loc) if isinstance(part, str)), "")
    spot.report("type", f'takes {takes} for "{key}", not {shown(spot.value)}', hint)


def text(takes: str = "text", pattern: str = "", hint: str = "", **more: Any) -> Shape[str]:
    """One line of text or more, never empty; with `pattern` (of `re.ASCII`), only what it matches whole."""
    known = re.compile(pattern, re.ASCII) if pattern else None

    def read(spot: Spot) -> str | None:
        value = spot.value
        if isinstance(value, str) and value.strip() and (known is None or known.fullmatch(value)):
            return value.strip()
        if spot.is_key:
            spot.report("name", f"has the name {shown(value)}", hint)
        else:
            wrong(spot, takes, hint)
        return None

    return Shape(read, {"type": "string", **({"pattern": f"^(?:{pattern})$"} if pattern else {"minLength": 1}), **more})


def choice(*choices: str) -> Shape[str]:
    """One word of a few."""

    def read(spot: Spot) -> str | None:
        if isinstance(spot.value, str) and spot.value in choices:
            return spot.value
        word = spot.value if isinstance(spot.value, str) else ""
        takes = choices[0] if len(choices) == 1 else f"one of {', '.join(choices)}"
        wrong(spot, takes, near(word, choices))
        return None

    return Shape(read, {"enum": list(choices)})


def _read_flag(spot: Spot) -> bool | None:
    if isinstance(spot.value, bool):
        return spot.value
    wrong(spot, "true or false")
    return None


flag: Shape[bool] = Shape(_read_flag, {"type": "boolean"})


def _read_values(spot: Spot) -> dict[str, Any] | None:
    if isinstance(spot.value, dict):
        return spot.value
    wrong(spot, "a mapping of names to values")
    return None


values: Shape[dict[str, Any]] = Shape(_read_values, {"type": "object"})


def list_of(shape: Shape[T], or_one: bool = False, empty: bool = False) -> Shape[tuple[T, ...]]:
    """A list of a shape; with `or_one`, a single value stands for a list of it."""

    def read(spot: Spot) -> tuple[T, ...] | None:
        if isinstance(spot.value, list) and (spot.value or empty):
            return tuple(item for item in map(shape.read, spot.items()) if item is not None)
        if or_one and not isinstance(spot.value, list):
            one = shape.read(spot)
            return None if one is None else (one,)
        if spot.value == []:
            spot.report("type", f'has nothing in "{spot.loc[-1]}"', "every item starts with a dash")
        else:
            wrong(spot, "a list", "every item starts with a dash")
        return None

    many = {"type": "array", "items": shape.schema, **({} if empty else {"minItems": 1})}
    return Shape(read, {"anyOf": [shape.schema, many]} if or_one else many)


def mapping_of(shape: Shape[T], takes: str, names: Shape[str], at_least: int = 1) -> Shape[dict[str, T]]:
    """A mapping from names of one's own to a shape."""

    def read(spot: Spot) -> dict[str, T] | None:
        if not isinstance(spot.value, dict):
            wrong(spot, takes)
            return None
        if len(spot.value) < at_least:
            spot.report("type", f'has {len(spot.value) or "nothing"} in "{spot.loc[-1]}"', f"it takes {takes}")
        found: dict[str, T] = {}
        for name in spot.value:
            value = shape.read(spot.child(name))
            key = replace(spot, value=name, loc=(*spot.loc, name), is_key=True)
            if names.read(key) is not None and value is not None:
                found[name] = value
        return found

    more = {"propertyNames": names.schema, "additionalProperties": shape.schema, "minProperties": at_least}
    return Shape(read, {"type": "object", **more})


def _listing(keys: Iterable[str]) -> str:
    return f"a mapping of {', '.join(keys)}"
