"""Delivery status notifications (RFC 3464): the mail system says by recipient what became of a message. The most certain of all
detectors; it also finds which message it was about, so that a forged or foreign report can be told apart later."""

from __future__ import annotations

import re

from engine.core.classify.evidence import Evidence
from engine.core.classify.reports import RETURNED
from engine.core.classify.severity import STATUS, Severity, of_recipient
from engine.core.model import Event, Message, Reading

DELIVERY_STATUS = frozenset({"message/delivery-status", "message/global-delivery-status"})
#: The fields of RFC 3464 in a text part: gateways that take a report apart leave them there.
_IN_TEXT = ("Final-Recipient:", "Action:", "Status:")
RECIPIENTS_MAX = 50
REPORT_MAX = 6000
_FIELD = re.compile(r"^([A-Za-z][A-Za-z0-9-]{1,60})\s*:[ \t]*(.*(?:\n[ \t]+.*)*)", re.M)
_ORIGINAL_ID = re.compile(
    r"^\s{0,4}>?\s?(?:Message-ID|X-Original-Message-ID|X-Microsoft-Original-Message-ID|Original-Message-ID|In-Reply-To|References|"
    r"X-MS-Exchange-Parent-Message-Id|X-Google-Original-Message-ID|Message ID)\s*:\s*((?:<[^<>\s]{1,998}>\s*)+)",
    re.I | re.M,
)
_ONE_ID = re.compile(r"<[^<>\s]{1,998}>")
EVENTS = {
    Severity.HARD: Event.BOUNCED,
    Severity.SOFT: Event.SOFT_BOUNCED,
    Severity.DELAYED: Event.DELAYED,
    Severity.DELIVERED: Event.IGNORED,
}


def dsn(evidence: Evidence) -> Reading | None:
    """`dsn:5.1.1`: the worst that happened to any recipient decides, with its status code."""
    body = evidence.body[:REPORT_MAX]
    texts = [part.text for part in evidence.message.parts if part.content_type in DELIVERY_STATUS]
    if not texts and not evidence.message.in_reply_to and all(field in body for field in _IN_TEXT):
        texts = [body]
    found = [one for text in texts for one in _recipients(text, evidence)]
    if not found:
        return None
    worst = max(found, key=lambda one: one[0])
    failed = tuple(dict.fromkeys(address for severity, address, _ in found if address and severity == worst[0]))
    rule = f"dsn:{worst[2] or worst[0].name.lower()}"
    event = EVENTS[worst[0]]
    return Reading(
        (event,), rule, recipients=failed[:RECIPIENTS_MAX], status=worst[2], originals=originals(evidence.message)
    )


def _recipients(text: str, evidence: Evidence) -> list[tuple[Severity, str, str | None]]:
    """Severity, address and status of each recipient group. The first group speaks of the message as a whole."""
    found: list[tuple[Severity, str, str | None]] = []
    for block in re.split(r"\n\s*\n", text)[: RECIPIENTS_MAX + 1]:
        fields = {name.lower(): " ".join(value.split()) for name, value in _FIELD.findall(block[:8000])}
        if "final-recipient" not in fields and "original-recipient" not in fields and "action" not in fields:
            continue
        diagnostic = " ".join(fields.get(name, "") for name in ("status", "diagnostic-code", "x-supplementary-info"))
        match = STATUS.search(fields.get("status", "")) or STATUS.search(diagnostic)
        status = match[1] if match else None
        severity = of_recipient(
            status, diagnostic, fields.get("action", "failed").split(" ")[0], evidence.body[:REPORT_MAX]
        )
        address = _address(fields.get("final-recipient", "")) or _address(fields.get("original-recipient", ""))
        found.append((severity, address, status))
    return found


def _address(value: str) -> str:
    address = value.rpartition(";")[2].strip().strip("<>\"' ").lower()
    return address[:320] if "@" in address else ""


def originals(message: Message) -> tuple[str, ...]:
    """Message-IDs that a report is about: from the returned part, from our own X-headers, else from text that quotes headers."""
    returned = [part.text for part in message.parts if part.content_type in RETURNED]
    texts = returned or [message.text]
    found = [one for text in texts for group in _ORIGINAL_ID.findall(text) for one in _ONE_ID.findall(group)]
    found += [
        one
        for name in ("x-original-message-id", "x-microsoft-original-message-id")
        for value in message.headers.get(name, ())
        for one in _ONE_ID.findall(value)
    ]
    return tuple(dict.fromkeys([*found, *message.in_reply_to, *message.references]))[:50]
