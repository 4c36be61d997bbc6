"""Bounces that are no DSN: what mail systems wrote before and beside RFC 3464. A machine must have sent it (null return path,
a postmaster's address, a bounce subject); flufl.bounce reads the formats that it knows, words the rest."""

from __future__ import annotations

import re
from collections.abc import Iterable
from email import message_from_bytes

from flufl.bounce import all_failures

from engine.core.classify.dsn import EVENTS, RECIPIENTS_MAX, originals
from engine.core.classify.evidence import Evidence
from engine.core.classify.severity import STATUS, Severity, of_refusal
from engine.core.model import Reading
from engine.core.phrases import phrasebook, plain

SCANNED_MAX = 64 * 1024
WORDS_MAX = 6000
_DAEMON = re.compile(
    r"^(mailer-?daemon|postmaster|mail-?daemon|mdaemon|mail\.?daemon|bounce|bounces|mailerdaemon|mailadm|smtp-?daemon|mailsystem|nobody|mmdf|pmdf|postoffice|microsoftexchange[0-9a-f]{8,40}|noreply-bounce)[\w.+-]*@?",
    re.I,
)
_DAEMON_NAME = re.compile(
    r"mail ?delivery|mailer-?daemon|postmaster|mail (system|administrator)|system administrator|systemadministrator|internet mail",
    re.I,
)
_ADDRESS = re.compile(r"[\w.+&'/=-]{1,64}@[A-Za-z0-9-]{1,63}(?:\.[A-Za-z0-9-]{1,63}){1,8}")
_RETURNED_BEGINS = re.compile(
    r"^.{0,8}(?:-{2,}.{0,40}(?:returned|original|copy of|included|undelivered|unsent|forwarded).{0,60}|(?:>\s?)?(?:Return-Path|Received|DKIM-Signature|MIME-Version):\s.*)$",
    re.I | re.M,
)


def bounce(evidence: Evidence) -> Reading | None:
    """`bounce:words`, `bounce:format`, `bounce:headers`: a refusal that is no DSN, with whom it names and how bad it is."""
    report = _own_words(evidence.body)
    subject = phrasebook().has("bounce_subject", evidence.subject)
    daemon = _is_daemon(evidence)
    if not (daemon or subject or evidence.has_header("x-failed-recipients")):
        return None
    said = plain(report[:WORDS_MAX])
    refused = (
        phrasebook().has("refused_text", said)
        or phrasebook().has("refused_hard", said)
        or phrasebook().has("refused_soft", said)
    )
    temporary, permanent = _formats(evidence) if daemon or refused else (set(), set())
    failed = evidence.header("x-failed-recipients")
    if not (refused or temporary or permanent or failed or (daemon and subject)):
        return None
    if not daemon and not (refused and _machine(evidence)):
        return None
    severity = _severity(said, report, bool(temporary) and not permanent, evidence)
    status = STATUS.search(report)
    addresses = [*(one.lower() for one in _ADDRESS.findall(failed)), *sorted(permanent or temporary)] or _named(
        report, evidence
    )
    rule = "bounce:headers" if failed else "bounce:format" if temporary or permanent else "bounce:words"
    return Reading(
        (EVENTS[severity],),
        rule,
        recipients=tuple(dict.fromkeys(addresses))[:RECIPIENTS_MAX],
        status=status[1] if status else None,
        originals=originals(evidence.message),
    )


def _is_daemon(evidence: Evidence) -> bool:
    sender = evidence.message.sender
    by_name = _DAEMON_NAME.search(sender.name) is not None
    return bool(_DAEMON.match(sender.email)) or by_name


def _machine(evidence: Evidence) -> bool:
    """A bounce subject from an ordinary address: only where no person's client wrote it."""
    return_path = evidence.header("return-path").strip()
    return (
        return_path in ("<>", "")
        and not evidence.message.in_reply_to
        or "multipart/report" in evidence.header("content-type").lower()
    )


def _own_words(body: str) -> str:
    """What the mail system says itself, before the message that it gives back."""
    match = _RETURNED_BEGINS.search(body, 40)
    return body[: match.start()] if match and match.start() > 60 else body


def _formats(evidence: Evidence) -> tuple[set[str], set[str]]:
    """Addresses that failed for now and for good in the formats that flufl.bounce knows. It raises on some; that is "unknown"."""
    try:
        temporary, permanent = all_failures(message_from_bytes(evidence.message.raw[:SCANNED_MAX]))
    except Exception:  # IndexError, AttributeError, UnicodeError: it reads fields that a broken report lacks
        return set(), set()
    return _as_text(temporary), _as_text(permanent)


def _as_text(addresses: Iterable[bytes]) -> set[str]:
    return {one.decode("ascii", "replace").lower() for one in addresses}


def _severity(said: str, report: str, only_temporary: bool, evidence: Evidence) -> Severity:
    if only_temporary or phrasebook().has("delayed_text", plain(evidence.message.subject) + " " + said[:1500]):
        return Severity.DELAYED
    status = STATUS.search(report)
    return of_refusal(status[1] if status else None, report[:WORDS_MAX])


def _named(report: str, evidence: Evidence) -> list[str]:
    ours = {person.email for person in evidence.message.to} | {evidence.message.sender.email}
    return [one.lower() for one in _ADDRESS.findall(report[:WORDS_MAX]) if one.lower() not in ours][:5]
