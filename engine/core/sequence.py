"""Sequences as values, and the reading of them from YAML. Every problem carries file, line and column, and all problems
of a file are found in one reading; a sequence with a problem is never returned half-read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

KINDS = ("review", "ask", "intro", "follow_up", "thanks", "update", "outreach", "favour", "touch")
Role = Literal["client", "prospect", "rep"]
Thread = Literal["one", "new", "inherit", "answer"]


@dataclass(frozen=True)
class Problem:
    """Something wrong in a file that a person wrote. Lines and columns count from 1."""

    file: str
    line: int
    column: int
    code: str
    message: str
    hint: str = ""
    severity: Literal["error", "warning"] = "error"

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}: {self.message}" + (f"; {self.hint}" if self.hint else "")


@dataclass(frozen=True)
class Duration:
    """A length of time as a person means it. `months` and `days` keep the wall clock, `minutes` are elapsed time,
    `business_days` skip weekends and holidays. `text` is what was written."""

    months: int = 0
    days: int = 0
    minutes: int = 0
    business_days: int = 0
    text: str = ""


@dataclass(frozen=True)
class At:
    """`start + 1 week`, `review_call - 2 business days`: `sign` is +1 or -1, an anchor alone has an empty offset."""

    anchor: str
    sign: int = 1
    offset: Duration = Duration()
    text: str = ""


@dataclass(frozen=True)
class Need:
    name: str
    type: Literal["text", "number", "list", "date", "datetime", "person"]
    optional: bool = False


@dataclass(frozen=True)
class Start:
    """Another sequence to start. `rest` stands for `after: rest` (the length is in the config)."""

    sequence: str
    after: Duration | None = None
    rest: bool = False
    values: Mapping[str, Any] = field(default_factory=dict)  # `with:`
    line: int = 0


@dataclass(frozen=True)
class Handler:
    """What an event does: at most one of stop, pause, hold, goto, go_on (`continue: true`), with any of the others."""

    stop: str | None = None
    pause: str | None = None
    hold: Duration | None = None
    goto: str | None = None
    go_on: bool = False
    starts: tuple[Start, ...] = ()
    task: str | None = None
    set: Mapping[str, str] = field(default_factory=dict)
    line: int = 0


@dataclass(frozen=True)
class Step:
    id: str
    wait: Duration | None = None
    at: At | None = None
    email: str | None = None
    task: str | None = None
    starts: tuple[Start, ...] = ()
    condition: str | None = None  # `if:`
    until: At | None = None
    late: Literal["ask", "send", "skip"] = "ask"
    aside: bool = False
    when: Mapping[str, Handler] = field(default_factory=dict)
    to: Role | None = None
    thread: Thread | None = None
    window: str | None = None
    approve: bool = False
    block: bool = False
    attach: tuple[str, ...] = ()
    variants: Mapping[str, str] = field(default_factory=dict)
    line: int = 0


@dataclass(frozen=True)
class Scenario:
    """A test that ops wrote: kept as plain values, run by `simulate`."""

    name: str
    begins: str
    values: Mapping[str, Any] = field(default_factory=dict)
    given: tuple[Mapping[str, Any], ...] = ()
    expect: tuple[Mapping[str, Any], ...] = ()
    line: int = 0


@dataclass(frozen=True)
class Sequence:
    """`key` is the file's stem and the name by which everything refers to it; `name` is for people. `version` is a digest
    of the text (and of its templates, added by the library)."""

    key: str
    name: str
    kind: str
    to: Role
    steps: tuple[Step, ...]
    about: str = ""
    needs: Mapping[str, Need] = field(default_factory=dict)
    window: str = "business_hours"
    thread: Thread = "one"
    when: Mapping[str, Handler] = field(default_factory=dict)
    listen: Duration = Duration(days=30, text="30 days")
    requires: str = ""
    scenarios: tuple[Scenario, ...] = ()
    version: str = ""
    file: str = ""
