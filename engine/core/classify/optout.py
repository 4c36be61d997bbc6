"""An opt-out: somebody asks never to be mailed again, in words of any kind or by their mail client's button. It goes beyond this
ask ("stop asking about Barry" is a no, not an opt-out) and is final, so the words must say mail, list, data or all contact."""

from __future__ import annotations

import re

from engine.core.classify.evidence import Evidence, masked
from engine.core.model import Event, Reading
from engine.core.phrases import phrasebook

WORDS_MAX = 1500
#: Outside any thread a longer text is an advertisement that offers to unsubscribe.
STRANGER_WORDS_MAX = 300
_BUTTON = re.compile(r"\+unsub[\w-]*@|unsubscribe[\w.+-]*@", re.I)
#: A text of so few words whose every word is the request.
SHORT = 4


def button(evidence: Evidence) -> Reading | None:
    """`optout:button`: the mail client's unsubscribe button (RFC 2369 mailto) wrote this; some clients mark it as automatic."""
    pressed = any(_BUTTON.search(person.email) for person in evidence.addressed) or phrasebook().has(
        "optout_button", evidence.words
    )
    if not pressed or not phrasebook().has("optout", evidence.subject):
        return None
    return Reading((Event.UNSUBSCRIBED, Event.REPLY), "optout:button", text=evidence.cut.text)


def opted_out(evidence: Evidence) -> str:
    """The rule that found an opt-out, or an empty string."""
    words = evidence.words
    if not words and phrasebook().equals("optout", evidence.subject):
        return "optout:subject"
    if not words or len(words) > (WORDS_MAX if evidence.message.in_reply_to else STRANGER_WORDS_MAX):
        return ""
    for sentence in evidence.sentences:
        hit = _asks(sentence, evidence)
        if hit:
            return f"optout:{hit}"
    return ""


def _asks(sentence: str, evidence: Evidence) -> str:
    """The language of the request in one sentence, or an empty string where it is none or about something else."""
    hits = evidence.hits("optout", sentence)
    strong = [hit for hit in hits if " " in hit.phrase or len(sentence.split()) <= SHORT or not hit.phrase.isascii()]
    if not strong:
        return ""
    of_some = masked(sentence, evidence.hits("optout_all", sentence))  # "not about Barry, and not about anything else"
    return "" if evidence.says("optout_not", of_some) else strong[0].language


def reading(evidence: Evidence) -> Reading | None:
    rule = opted_out(evidence)
    return Reading((Event.UNSUBSCRIBED, Event.REPLY), rule, text=evidence.cut.text) if rule else None
