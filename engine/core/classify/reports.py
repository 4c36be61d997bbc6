"""Reports that machines write about a message: disposition notifications (RFC 8098), calendar answers (RFC 6047), abuse reports
(RFC 5965). Structure alone decides; the words in them belong to other mail and prove nothing."""

from __future__ import annotations

import re

from engine.core.classify.evidence import Evidence
from engine.core.model import Event, Reading
from engine.core.phrases import phrasebook, plain

_METHOD = re.compile(r"^METHOD\s*:\s*([A-Z-]{3,20})", re.I | re.M)
_FEEDBACK_TYPE = re.compile(r"^Feedback-Type:\s*([a-z-]{2,30})", re.I | re.M)
_ID_LINE = re.compile(r"^(?:Message-ID|Original-Message-ID|X-Original-Message-ID):\s*(<[^<>\s]{1,998}>)", re.I | re.M)
_RECIPIENT_LINE = re.compile(r"^Original-(?:Rcpt-To|Recipient):\s*(?:rfc822;)?\s*<?([^\s<>;]{3,320})>?", re.I | re.M)


def disposition(evidence: Evidence) -> Reading | None:
    """A receipt: `mdn:displayed`, `mdn:deleted`. It says that a machine did something, never what a person thinks."""
    part = next((p for p in evidence.message.parts if p.content_type == "message/disposition-notification"), None)
    asked = "disposition-notification" in evidence.header("content-type").lower()
    if part is None and not asked:
        return _receipt_by_subject(evidence)
    if (
        part
        and "automatic-action" in part.text.lower()
        and phrasebook().has("rejected_text", plain(evidence.body[:1500]))
    ):
        return None  # Sieve's reject (RFC 5429) in its older form: a refusal that came as a receipt
    found = re.search(r"^Disposition:[^;\n]*;\s*([a-z-]{3,30})", part.text if part else "", re.I | re.M)
    return Reading(
        (Event.IGNORED,), f"mdn:{found[1].lower() if found else 'report'}", originals=ids_in(part.text if part else "")
    )


def _receipt_by_subject(evidence: Evidence) -> Reading | None:
    hit = phrasebook().starts("receipt_subject", evidence.subject)
    if hit is None or not phrasebook().has("receipt_text", plain(evidence.body[:2000])):
        return None
    return Reading((Event.IGNORED,), f"mdn:subject:{hit.language}")


def calendar(evidence: Evidence) -> Reading | None:
    """An answer to a meeting. It is about the meeting, not about what we asked; an invitation from a client is a reply."""
    for part in evidence.message.parts:
        if part.content_type not in ("text/calendar", "application/ics"):
            continue
        method = _METHOD.search(part.text)
        named = method[1].upper() if method else ""
        if named in ("REPLY", "COUNTER", "CANCEL", "REFRESH", "DECLINECOUNTER"):
            return Reading((Event.IGNORED,), f"calendar:{named.lower()}")
    kind = evidence.header("content-class").lower()
    if "calendarmessage" in kind and phrasebook().starts("calendar_subject", evidence.subject):
        return Reading((Event.IGNORED,), "calendar:subject")
    return None


def abuse(evidence: Evidence) -> Reading | None:
    """A feedback loop's complaint about one of our messages; reports on authentication are no complaint."""
    part = next((p for p in evidence.message.parts if p.content_type == "message/feedback-report"), None)
    if part is None:
        return _complaint_by_subject(evidence)
    kind = _FEEDBACK_TYPE.search(part.text)
    named = kind[1].lower() if kind else "abuse"
    returned = "\n".join(p.text for p in evidence.message.parts if p.content_type in RETURNED)
    event = FEEDBACK.get(named, Event.COMPLAINED)
    recipients = tuple(dict.fromkeys(one.lower() for one in _RECIPIENT_LINE.findall(part.text)))[:50]
    return Reading((event,), f"arf:{named}", recipients=recipients, originals=ids_in(part.text + "\n" + returned))


#: What feedback types mean that are no complaint (RFC 5965 §7.3, RFC 6591).
FEEDBACK = {
    "opt-out": Event.UNSUBSCRIBED,
    "opt-out-list": Event.UNSUBSCRIBED,
    "auth-failure": Event.IGNORED,
    "dmarc": Event.IGNORED,
    "not-spam": Event.IGNORED,
    "virus": Event.IGNORED,
}


def _complaint_by_subject(evidence: Evidence) -> Reading | None:
    """Microsoft's junk reports are no ARF: a subject of their own and the message given back whole."""
    returned = next((p for p in evidence.message.parts if p.content_type in RETURNED), None)
    if returned is None or not evidence.subject.startswith("complaint about message from"):
        return None
    return Reading((Event.COMPLAINED,), "arf:subject", originals=ids_in(returned.text))


#: The parts in which a report gives back what it is about.
RETURNED = frozenset(
    {
        "message/rfc822",
        "text/rfc822-headers",
        "message/rfc822-headers",
        "message/global",
        "message/global-headers",
        "text/rfc822",
    }
)


def ids_in(text: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(_ID_LINE.findall(text)))[:50]
