"""What a person answered, once it is clear that a person did: opt-out, introduction, people, yes or no, in this order of weight.
The last resort of all detectors: it always gives a reading, and that reading ends with `reply`."""

from __future__ import annotations

import re

from engine.core.classify import optout
from engine.core.classify.evidence import Evidence, domain_of
from engine.core.classify.introduced import introduced
from engine.core.classify.people import named
from engine.core.classify.yesno import decided
from engine.core.model import Event, Person, Reading
from engine.core.phrases import phrasebook

WORDS_MAX = 260
LINKS_MAX = 2
_LINK = re.compile(r"https?://|www\.", re.I)


def answer(evidence: Evidence) -> Reading:
    """The events of a human answer, the most specific first."""
    if _is_circular(evidence):
        return Reading((Event.REPLY,), "reply:circular", text=evidence.cut.text)
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
    unclear = (what == "declined" and events) or (what == "confirmed" and not people and _gives_an_address(evidence))
    if what and not unclear:
        events.append(Event(what))
        rules.append(rule)
    return Reading((*events, Event.REPLY), rules[0] if rules else "reply", text=evidence.cut.text, people=people)


def _is_circular(evidence: Evidence) -> bool:
    """Long or full of links and in no thread: whatever it is, it answers nothing, so no word in it may act."""
    text = evidence.cut.text
    if evidence.message.in_reply_to or evidence.message.references:
        return False
    return len(text.split()) > WORDS_MAX or len(_LINK.findall(text + evidence.message.html[:20_000])) > LINKS_MAX


def _gives_an_address(evidence: Evidence) -> bool:
    """Whoever writes down the address of somebody outside has said more than yes, also where nobody knows what."""
    words = (word.strip("<>()[].,;:").lower() for word in evidence.cut.text.split() if "@" in word)
    return any("." in domain_of(word) and not word.startswith("@") and evidence.is_outside(word) for word in words)
