"""YAML as people expect it to be: `no` and `09:30` and `0123` stay text, a key stands once, and everything has a line and
a column. Values are built from the parser's events, so that no tag, alias or nesting can make more of a file than its text;
whatever is refused becomes a Problem, never an exception."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import yaml

from engine.core.problem import Problem

NESTING_MAX = 30
TOO_DEEP, DEEP_HINT = f"more than {NESTING_MAX} levels deep", "a bracket too many?"
TEXT_MAX = 1_000_000

_PARSER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
# C1 controls and the line ends that only YAML 1.1 knows: they would move the line numbers away from the editor's.
_FORBIDDEN = re.compile("[^\t\n\r\x20-\x7e\xa0-\u2027\u202a-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_INTEGER = re.compile(r"-?(?:0|[1-9][0-9]{0,17})")
_FLOAT = re.compile(r"-?(?:0|[1-9][0-9]{0,17})(?:\.[0-9]{1,17})?(?:[eE][-+]?[0-9]{1,2})?")
_WORDS: dict[str, bool | None] = {
    "": None,
    "~": None,
    "null": None,
    "true": True,
    "True": True,
    "TRUE": True,
    "false": False,
    "False": False,
    "FALSE": False,
}
_JINJA = 'text with "{{" in it must stand in quotes'
_HINTS = {
    "mapping values are not allowed in this context": 'put the text in quotes if it has ": " in it, or check the indent',
    "could not find expected ':'": 'a key needs ": " after it',
    "did not find expected key": "check that this line is indented like the lines it belongs to",
    "did not find expected '-' indicator": 'every item of a list starts with "- " at the same indent',
    "did not find expected ',' or ']'": "a list in [ ] is not closed, or a comma is missing",
    "did not find expected ',' or '}'": "a mapping in { } is not closed, or a comma is missing",
    "did not find expected node content": "a bracket is not closed, or a comma is one too many",
    "found unexpected end of stream": "a quote is not closed",
    "found unknown escape character": "in \"double quotes\" a backslash is written \\\\, or use 'single quotes'",
}

Loc = tuple[str | int, ...]


@dataclass(frozen=True)
class Positions:
    """Where every value and every key of one file stands, by its path: `("steps", 0, "wait") -> (line, column)`."""

    values: dict[Loc, tuple[int, int]] = field(default_factory=dict)
    keys: dict[Loc, tuple[int, int]] = field(default_factory=dict)


class _Refused(Exception):  # the file cannot be read any further
    pass


def load(file: str, text: str) -> tuple[Any, Positions, list[Problem]]:
    """Read one YAML document into plain values: dict with text keys, list, str, int, float, bool, None.

    Returns the values, their positions for `locate`, and all problems. After an error of syntax or an alias the value is
    None; after a duplicate key it is what could be read, so that a caller finds its own problems in the same pass."""
    problems: list[Problem] = []
    refused = _unreadable(file, text)
    if refused:
        return None, Positions(), [refused]
    builder = _Builder(file, problems)
    try:
        value = builder.document(yaml.parse(text, Loader=_PARSER))
        aliased = any(problem.code == "alias" for problem in problems)
        return (None if aliased else value), builder.positions, problems
    except _Refused:
        return None, builder.positions, problems
    except yaml.MarkedYAMLError as error:
        return None, builder.positions, [*problems, _syntax(file, text, error)]


def decode(file: str, raw: bytes) -> tuple[str, list[Problem]]:
    """The text of a file's bytes, which must be UTF-8; otherwise an empty text and the problem."""
    try:
        return raw.decode("utf-8-sig"), []
    except UnicodeDecodeError as error:
        before = raw[: error.start].decode("utf-8-sig")
        line, column = _line_column(before, len(before))
        return "", [Problem(file, line, column, "encoding", "this is not UTF-8", "save the file as UTF-8")]


def locate(positions: Positions, loc: Loc, key: bool = False) -> tuple[int, int]:
    """Line and column, from 1, of the value at a path; with `key`, of its key. Parts that the file does not have (a
    missing key, a union's tag as pydantic reports it) are passed over, so that the nearest thing that exists is named."""
    found: Loc = ()
    for part in loc:
        if (*found, part) in positions.values:
            found = (*found, part)
    if key and found in positions.keys:
        return positions.keys[found]
    return positions.values.get(found, (1, 1))


def _unreadable(file: str, text: str) -> Problem | None:
    if len(text) > TEXT_MAX:
        return Problem(file, 1, 1, "too-large", f"the file is larger than {TEXT_MAX:,} characters", "split it")
    bad = _FORBIDDEN.search(text)
    if bad is None:
        return None
    line, column = _line_column(text, bad.start())
    return Problem(file, line, column, "character", f"a character U+{ord(bad[0]):04X} that cannot be seen", "delete it")


def _line_column(text: str, offset: int) -> tuple[int, int]:
    before = text[:offset].replace("\r\n", "\n").replace("\r", "\n")
    return before.count("\n") + 1, len(before) - before.rfind("\n")


def _syntax(file: str, text: str, error: yaml.MarkedYAMLError) -> Problem:
    mark = error.problem_mark or error.context_mark
    line, column = (mark.line + 1, mark.column + 1) if mark else (1, 1)
    problem = str(error.problem or error.context or "cannot be read")
    opened = error.context_mark
    if "end of stream" in problem and opened is not None:  # where the quote opened says more than where the file ended
        line, column = opened.line + 1, opened.column + 1
    line, column = min((line, column), _line_column(text, len(text.rstrip())))
    hint = _HINTS.get(problem, "")
    before = text.splitlines()[line - 1][: column - 1] if hint else ""
    if problem == "did not find expected key" and before.endswith("'"):
        hint = "a quote inside of 'single quotes' is written twice, or use \"double quotes\""
    if "cannot start any token" in problem:
        hint = _starts_badly(text, line, column)
    if "nesting depth" in problem:  # libyaml's own limit, met before ours where nothing is closed
        return Problem(file, line, column, "nesting", TOO_DEEP, DEEP_HINT)
    return Problem(file, line, column, "yaml", f"YAML: {problem}", hint)


def _starts_badly(text: str, line: int, column: int) -> str:
    row = text.splitlines()[line - 1 : line]
    character = row[0][column - 1 : column] if row else ""
    if character == "\t":
        return "indent with spaces, not with a tab"
    return f"text that starts with {character} must stand in quotes"


def _place(event: yaml.Event) -> tuple[int, int]:
    mark: Any = event.start_mark  # typed as optional, and always there
    return mark.line + 1, mark.column + 1


def _scalar(text: str) -> Any:
    if text in _WORDS:
        return _WORDS[text]
    if _INTEGER.fullmatch(text):
        return int(text)
    return float(text) if _FLOAT.fullmatch(text) else text


class _Builder:
    """Turns the events of one document into values. It holds only what grows while one file is read."""

    def __init__(self, file: str, problems: list[Problem]) -> None:
        self.file = file
        self.problems = problems
        self.positions = Positions()

    def document(self, events: Iterator[yaml.Event]) -> Any:
        value = None
        for event in events:
            if isinstance(event, yaml.DocumentStartEvent) and self.positions.values:
                self.report(event, "documents", 'a second document ("---")', "one file holds one document")
                break
            if isinstance(event, yaml.NodeEvent):
                value = self.node(event, events, ())
        return value

    def node(self, event: yaml.Event, events: Iterator[yaml.Event], loc: Loc) -> Any:
        self.positions.values[loc] = _place(event)
        if len(loc) > NESTING_MAX:
            self.report(event, "nesting", TOO_DEEP, DEEP_HINT)
            raise _Refused
        self.refuse_magic(event)
        if isinstance(event, yaml.MappingStartEvent):
            return self.mapping(events, loc)
        if isinstance(event, yaml.SequenceStartEvent):
            return self.sequence(events, loc)
        if isinstance(event, yaml.ScalarEvent):
            return _scalar(event.value) if event.implicit[0] else event.value
        return None

    def refuse_magic(self, event: yaml.Event) -> None:
        if isinstance(event, yaml.AliasEvent):
            self.report(event, "alias", f"an alias (*{event.anchor})", "write it out, or quote text that starts with *")
        elif getattr(event, "anchor", None):
            self.report(event, "alias", "an anchor (&)", "write it out, or quote text that starts with &")
        elif getattr(event, "tag", None):
            self.report(event, "tag", "a tag (!)", "write the plain value, or quote text that starts with !")

    def sequence(self, events: Iterator[yaml.Event], loc: Loc) -> list[Any]:
        items: list[Any] = []
        for event in events:
            if isinstance(event, yaml.SequenceEndEvent):
                break
            items.append(self.node(event, events, (*loc, len(items))))
        return items

    def mapping(self, events: Iterator[yaml.Event], loc: Loc) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for event in events:
            if isinstance(event, yaml.MappingEndEvent):
                break
            if not isinstance(event, yaml.ScalarEvent):
                self.report(event, "key", "a key that is not text", _JINJA)
                raise _Refused
            self.entry(event, events, loc, found)
        return found

    def entry(self, key: yaml.ScalarEvent, events: Iterator[yaml.Event], loc: Loc, found: dict[str, Any]) -> None:
        here = (*loc, key.value)
        if key.value in found:
            first = self.positions.keys[here][0]
            self.report(key, "duplicate-key", f'the key "{key.value}" stands twice', f"the first is in line {first}")
            _Builder(self.file, self.problems).node(next(events), events, loc)  # read past it
            return
        self.refuse_magic(key)
        self.positions.keys[here] = _place(key)
        found[key.value] = self.node(next(events), events, here)

    def report(self, event: yaml.Event, code: str, message: str, hint: str) -> None:
        self.problems.append(Problem(self.file, *_place(event), code, message, hint))
