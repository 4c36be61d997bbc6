"""Mail to many: lists, newsletters, notifications. Nobody meant the rep alone, so nothing in it is an answer. A person's own answer
in our thread is never list mail, whatever headers a server added on its way."""

from __future__ import annotations

import re

from engine.core.classify.evidence import Evidence, without_tag
from engine.core.model import Event, Reading
from engine.core.phrases import phrasebook, plain

_BULK_SENDER = re.compile(
    r"^(no[-_.]?reply|do[-_.]?not[-_.]?reply|newsletters?|news|notifications?|notify|mailer|updates?|alerts?|digest|marketing|announce)\b",
    re.I,
)


def listed(evidence: Evidence) -> Reading | None:
    """`list:list-id`, `list:list-unsubscribe`, `list:sender`."""
    how = _list_header(evidence)
    if how and not _answers_us(evidence, how):
        return Reading((Event.IGNORED,), f"list:{how}", text=evidence.cut.text)
    if _BULK_SENDER.match(evidence.message.sender.email) and not evidence.message.in_reply_to and _has_footer(evidence):
        return Reading((Event.IGNORED,), "list:sender", text=evidence.cut.text)
    return None


def _list_header(evidence: Evidence) -> str:
    for name in (
        "list-id",
        "list-post",
        "list-unsubscribe",
        "mailing-list",
        "x-mailing-list",
        "list-help",
        "x-campaign",
        "x-campaignid",
        "feedback-id",
    ):
        if evidence.has_header(name):
            return name
    precedence = evidence.header("precedence").strip().lower()
    return "precedence" if precedence in ("list", "bulk", "junk") and not evidence.message.in_reply_to else ""


def _answers_us(evidence: Evidence, how: str) -> bool:
    """In our thread and to the rep in person: a company's own server that puts a header on all its mail does not make it a list."""
    to_rep = any(evidence.is_rep(person.email) for person in evidence.message.to)
    rep_ids = any(
        one.rpartition("@")[2].strip(">").lower() in {without_tag(r).rpartition("@")[2] for r in evidence.reader.rep}
        for one in evidence.message.in_reply_to
    )
    return (
        to_rep
        and (rep_ids or bool(evidence.message.in_reply_to))
        and how not in ("list-id", "list-post", "mailing-list", "x-mailing-list")
        or (to_rep and rep_ids)
    )


def _has_footer(evidence: Evidence) -> bool:
    return phrasebook().has("list_footer", plain(evidence.body[-3000:]))
