"""An absence note: what it says of the return, and whether the person is away at all or gone for good. Whether a machine sent it
was decided before; a person who types that they are away has replied."""

from __future__ import annotations

import re
from datetime import date, datetime
from email.utils import parsedate_to_datetime

from engine.core.classify.evidence import Evidence, domain_of
from engine.core.classify.until import until
from engine.core.model import Event, Reading
from engine.core.phrases import Hit, phrasebook, plain

COMPANY_REACH = 40
_ADDRESS = re.compile(r"[\w.+&'-]{1,64}@[A-Za-z0-9-]{1,63}(?:\.[A-Za-z0-9-]{1,63}){1,8}")


def absence(evidence: Evidence) -> Reading | None:
    """Absence notes of free-mail providers, which have neither headers nor a telling subject: only a null return path."""
    if evidence.header("return-path").strip() != "<>" or not is_absent(evidence) or evidence.message.in_reply_to:
        return None
    hit = evidence.says("absence_text")
    return Reading(
        (Event.OUT_OF_OFFICE,),
        f"absence:text:{hit.language if hit else 'any'}",
        text=evidence.cut.text,
        until=when_back(evidence),
    )


def is_absent(evidence: Evidence) -> bool:
    book = phrasebook()
    said = evidence.says("absence_text") or evidence.says("absence_text", plain(evidence.body[:3000]))
    ticket = book.has("ticket_subject", evidence.subject)
    return (said is not None and not ticket) or book.starts(
        "absence_subject", evidence.subject.lstrip("[( ")
    ) is not None


def when_back(evidence: Evidence) -> date | None:
    """The first day back, from the text, else from the subject; in the sender's own calendar day where the header gives a zone."""
    return until((evidence.cut.text, evidence.message.subject), sent_where_written(evidence))


def sent_where_written(evidence: Evidence) -> datetime | None:
    """The Date header on the sender's own clock: "tomorrow" is their tomorrow."""
    try:
        return parsedate_to_datetime(evidence.header("date"))
    except (ValueError, TypeError, OverflowError, IndexError):
        return evidence.message.date


def unattended(evidence: Evidence) -> Reading | None:
    """`left` and `moved`: the person will not come back to this address, whatever dates and stand-ins the note names."""
    left = evidence.says("left") or _left_own_company(evidence)
    if left:
        return Reading(
            (Event.AUTO_REPLY,),
            f"left:{left.language}",
            text=evidence.cut.text,
            note=_with_addresses("has left", evidence),
        )
    moved = evidence.says("moved") or next(iter(phrasebook().find("moved", evidence.subject)), None)
    if moved:
        return Reading(
            (Event.AUTO_REPLY,),
            f"moved:{moved.language}",
            text=evidence.cut.text,
            note=_with_addresses("new address", evidence),
        )
    return None


def _left_own_company(evidence: Evidence) -> Hit | None:
    """ "I have left Marlow Press", from an address at marlowpress: whatever a verb of leaving means elsewhere, here it is final."""
    domain = domain_of(evidence.message.sender.email).partition(".")[0].replace("-", "")
    for hit in phrasebook().find("left_verb", evidence.words):
        words = evidence.words[hit.end : hit.end + COMPANY_REACH].split(".")[0].split()
        if any(len(word) > 3 and word in domain for word in words[:4]):
            return hit
    return None


def _with_addresses(what: str, evidence: Evidence) -> str:
    given = [
        one
        for one in _ADDRESS.findall(evidence.cut.text[:3000])
        if not evidence.is_rep(one) and one.lower() != evidence.message.sender.email
    ]
    return f"{what}: {', '.join(dict.fromkeys(given))}" if given else what


def note_of(evidence: Evidence) -> str:
    given = _ADDRESS.findall(evidence.cut.text[:3000])
    return f"names {given[0]} in the meantime" if given and not evidence.is_rep(given[0]) else ""
