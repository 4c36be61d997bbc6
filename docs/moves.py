"""What makes an enrollment move from one state to another, found out by asking the machine: a sequence that has everything is
led through every happening, as far as it goes, and each change of state is noted with what caused it."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta

from engine.core.calendar import Calendar, Place
from engine.core.happening import (
    Approved,
    Begun,
    Changed,
    Done,
    Due,
    Facts,
    Failed,
    Forbidden,
    Happening,
    Heard,
    Held,
    Paused,
    Released,
    Stopped,
)
from engine.core.language import HANDLED
from engine.core.machine import decide
from engine.core.model import Enrollment, Event, State
from engine.core.sequence import Sequence, parse_sequence

EVERYTHING = """
name: Everything
kind: touch
to: client
window: always
steps:
  - {id: draft, email: t, approve: true}
  - {id: email, wait: 1 day, email: t}
  - {id: task, task: t, block: true}
  - {id: aside, aside: true, email: t}
"""
#: An event whose handler is that ending; what an event does without a handler is found with none.
ENDINGS = {
    "stop": "{stop: over}",
    "pause": "{pause: why}",
    "hold": "{hold: 3 days}",
    "goto": "{goto: aside}",
    "continue": "{continue: true}",
}
NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)
FACTS = Facts(Calendar({}), Place("UTC"), lambda source: True)
DEPTH = 7

Moves = dict[tuple[State, State], list[str]]


def moves() -> Moves:
    """For each change of state that happens, what can bring it about, in words."""
    found: Moves = {}
    for words, sequence in _sequences():
        for move, cause in _walk(sequence, words):
            causes = found.setdefault(move, [])
            if cause not in causes:
                causes.append(cause)
    return found


def _sequences() -> Iterator[tuple[str, Sequence]]:
    yield "", _parsed("")
    for ending, handler in ENDINGS.items():
        yield ending, _parsed(f"when: {{reply: {handler}}}\n")


def _parsed(when: str) -> Sequence:
    sequence, problems = parse_sequence("sequences/everything.yaml", EVERYTHING + when)
    assert sequence is not None, problems
    return sequence


def _walk(sequence: Sequence, ending: str) -> Iterator[tuple[tuple[State, State], str]]:
    """Every situation that can be reached, each looked at once."""
    first = Enrollment("e", "everything", "v", "c", "c", "rep", "e", NOON, NOON, state=State.WAITING, next_at=NOON)
    ahead, seen = [(first, 0)], set()
    while ahead:
        here, depth = ahead.pop(0)
        situation = (here.state, here.step, here.in_hand, bool(here.visits), here.tries, here.next_at is None)
        if situation in seen or depth > DEPTH:
            continue
        seen.add(situation)
        at = (here.next_at or NOON + timedelta(days=depth)) + timedelta(minutes=1)
        for cause, happening in _happenings(here, ending):
            then = decide(sequence, here, happening, at, FACTS).enrollment
            if then.state is not here.state:
                yield (here.state, then.state), cause
            ahead.append((then, depth + 1))


def _happenings(here: Enrollment, ending: str) -> Iterator[tuple[str, Happening]]:
    """What can happen to it there. With a handler, only the event that has one is of interest."""
    if here.state is State.STOPPED:
        return
    if ending:
        yield f"an event that says {ending}", Heard((Event.REPLY,))
    else:
        for event in HANDLED:
            until = date(2026, 5, 4) if event == Event.OUT_OF_OFFICE else None
            if event != Event.FINISHED:
                yield event, Heard((Event(event),), until=until, step=here.answered)
    if here.state is State.WAITING:
        yield "it begins", Begun()
        yield "a rule of conduct stands against it", Forbidden("asked", NOON + timedelta(days=1))
    if here.next_at:
        yield "its time comes", Due()
    if here.in_hand == "draft":
        yield "the rep approves the draft", Approved()
    if here.in_hand and here.step:
        yield "its step is done", Done(here.step, NOON, emailed=here.in_hand == "outbox")
    yield "whoelse pause", Paused("paused by the rep")
    yield "whoelse resume, or its answer is settled", Released("resumed")
    yield "whoelse stop", Stopped("stopped by the rep")
    yield "an answer waits elsewhere", Held("an answer waits")
    yield "an email cannot be filled in", Failed("no name")
    yield "a variable or the sequence is changed", Changed({}, "changed")
