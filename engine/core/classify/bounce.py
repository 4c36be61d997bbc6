"""Bounces that are no DSN: what mail systems wrote before and beside RFC 3464. A machine must have sent it (null return path,
a postmaster's address, a bounce subject); flufl.bounce reads the formats that it knows, words the rest."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable
from email import message_from_bytes

from flufl.bounce import all_failures

from engine.core.classify.dsn import EVENTS, RECIPIENTS_MAX, originals
from engine.core.classify.evidence import Evidence
from engine.core.classify.severity import STATUS, Severity, of_report
from engine.core.model import Reading
from engine.core.phrases import phrasebook, plain

#: It logs a traceback for each of its detectors that fails on a broken report; the others have still looked.
logging.getLogger("flufl.bounce").setLevel(logging.CRITICAL)

SCANNED_MAX = 64 * 1024
WORDS_MAX = 6000
_DAEMON = re.compile(
    r"^(mailer-?daemon|po?ost_?master|mail-?daemon|mdaemon|mail\.?daemon|bounce|bounces|mailerdaemon|mailadm|smtp-?daemon|mailsystem|nobody|mmdf|pmdf|postoffice|microsoftexchange[0-9a-f]{8,40}|noreply-bounce)[\w.+-]*@?",
    re.I,
)
_SYSTEM = re.compile(
    r"^(no[-_.]?reply|imss|antivirus|symantec|mailscanner|mail|postmaster|admin|system|root|listserv|delivery|gateway|smtp)",
    re.I,
)
_DAEMON_NAME = re.compile(
    r"mail ?delivery|mail(?:er)?[- ]?daemon|postmaster|mail (system|administrator)|"
    r"system ?administrator|internet mail",
    re.I,
)
_ADDRESS = re.compile(r"[\w.+&'/=-]{1,64}@[A-Za-z0-9-]{1,63}(?:\.[A-Za-z0-9-]{1,63}){1,8}")
_RETURNED_BEGINS = re.compile(
    r"^.{0,8}(?:-{2,}.{0,40}(?:returned|original|copy of|included|undelivered|unsent|forwarded).{0,60}|"
    r"(?:>\s?)?(?:Return-Path|Received|DKIM-Signature|MIME-Version):\s.*)$",
    re.I | re.M,
)


def bounce(evidence: Evidence) -> Reading | None:
    """`bounce:words`, `bounce:format`, `bounce:headers`: a refusal that is no DSN, with whom it names and how bad it is."""
    daemon = _is_daemon(evidence)
    failed = evidence.header("x-failed-recipients")
    rejected = "disposition-notification" in evidence.header("content-type").lower()
    if not (daemon or failed or rejected) and _is_personal(evidence):
        return None
    report = _own_words(evidence.body)
    said = plain(report[:WORDS_MAX])
    if not (daemon or failed or rejected or phrasebook().has("refused_text", said)):
        return None
    subject = phrasebook().has("bounce_subject", evidence.subject)
    temporary, permanent = _formats(evidence)
    refused = phrasebook().has("refused_text", said) or (daemon and _gives_a_reason(said))
    if not (
        failed
        or temporary
        or permanent
        or (refused and (daemon or (subject and _from_system(evidence))))
        or (daemon and subject)
    ):
        return None
    severity = _severity(said, report, temporary, permanent, evidence)
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


def _from_system(evidence: Evidence) -> bool:
    """Not a postmaster by name, but no person either: a gateway's address, no return path, or a report by its type."""
    path = evidence.header("return-path").strip()
    return (
        bool(_SYSTEM.match(evidence.message.sender.email))
        or path == "<>"
        or "report" in evidence.header("content-type").lower()
    )


def _gives_a_reason(said: str) -> bool:
    return phrasebook().has("refused_hard", said) or phrasebook().has("refused_soft", said)


def _is_personal(evidence: Evidence) -> bool:
    """Signs that a person sent this: an answer in a thread, or a return path that leads to somebody's mailbox."""
    message = evidence.message
    path = evidence.header("return-path").strip().strip("<>").lower()
    to_sender = bool(path) and path == message.sender.email and not _SYSTEM.match(message.sender.email)
    return bool(message.in_reply_to) or evidence.has_header("x-mailer", "user-agent", "thread-index") or to_sender


def _is_daemon(evidence: Evidence) -> bool:
    sender = evidence.message.sender
    by_name = _DAEMON_NAME.search(sender.name) is not None
    nobody = not sender.email and evidence.header("from").strip() in ("<>", "")
    null_path = evidence.header("return-path").strip() == "<>" and not evidence.message.in_reply_to
    reported = (
        null_path
        and phrasebook().has("refused_text", plain(evidence.body[:1500]))
        and _gives_a_reason(plain(evidence.body[:1500]))
    )
    return (
        bool(_DAEMON.match(sender.email))
        or by_name
        or (nobody and phrasebook().has("bounce_subject", evidence.subject))
        or reported
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


def _severity(said: str, report: str, temporary: set[str], permanent: set[str], evidence: Evidence) -> Severity:
    """flufl.bounce tells for now from for good; the reason tells whether for good means dead or only refused."""
    if phrasebook().has("delayed_text", evidence.subject + " | " + said[:1500]) or (temporary and not permanent):
        return Severity.DELAYED
    by_reason = of_report(report)
    if by_reason is not None:
        return by_reason
    by_a_rule = (
        "disposition-notification" in evidence.header("content-type").lower()
    )  # the owner of a mailbox wrote it: it lives
    for_good = permanent or phrasebook().has("permanent_text", said)
    return Severity.HARD if for_good and not by_a_rule else Severity.SOFT


def _named(report: str, evidence: Evidence) -> list[str]:
    ours = {person.email for person in evidence.message.to} | {evidence.message.sender.email}
    return [one.lower() for one in _ADDRESS.findall(report[:WORDS_MAX]) if one.lower() not in ours][:5]
