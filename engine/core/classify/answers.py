"""What a person answered, once it is clear that a person did: opt-out, introduction, people, yes or no, in this order of weight.
The last resort of all detectors: it always gives a reading, and that reading ends with `reply`."""

from __future__ import annotations

from engine.core.classify import optout
from engine.core.classify.evidence import Evidence
from engine.core.classify.introduced import introduced
from engine.core.classify.people import named
from engine.core.classify.yesno import decided
from engine.core.model import Event, Person, Reading
from engine.core.phrases import phrasebook


def answer(evidence: Evidence) -> Reading:
    """The events of a human answer, the most specific first."""
    out = optout.reading(evidence)
    if out:
        return out
    if phrasebook().has("reaction", evidence.words):
        return Reading((Event.REPLY,), "reply:reaction", text=evidence.cut.text)
    events: list[Event] = []
    rules: list[str] = []
    people: tuple[Person, ...] = introduced(evidence)
    if people:
        events.append(Event.INTRODUCED)
        rules.append("introduced:address")
    else:
        people = named(evidence)
        if people:
            events.append(Event.NAMED)
            rules.append("named:address" if people[0].email else "named:company")
    what, rule = decided(evidence)
    if what and not (what == "declined" and events):
        events.append(Event(what))
        rules.append(rule)
    return Reading((*events, Event.REPLY), rules[0] if rules else "reply", text=evidence.cut.text, people=people)
