"""How bad a refusal is. Hard means that the address or its domain is dead; every other refusal is soft; delayed means that nothing
has happened yet. The words of the refusing server are more exact than its codes (RFC 3463), which servers use loosely, and
plain words ("no such user", "quota") are more exact than those that may mean either ("mailbox unavailable", "rejected")."""

from __future__ import annotations

import re
from enum import IntEnum

from engine.core.phrases import phrasebook, plain

WORDS_MAX = 6000
STATUS = re.compile(r"(?<![\d.])([245]\.\d{1,3}\.\d{1,3})(?![\d.])")
#: Lines in which a server speaks: a reply code, an enhanced code, or somebody quoted as having said.
_SPOKEN = re.compile(
    r"(?<!\d)[45]\d\d[ \-#]|(?<![\d.])[45]\.\d{1,3}\.\d{1,3}(?![\d.])|said:|reason|error|response|diagnostic", re.I
)
#: Addresses and links hold words that say nothing of the reason.
_NOISE = re.compile(r"https?://\S{1,500}|<?[\w.+&'/=#*-]{1,64}@[\w.-]{1,200}>?")

#: Enhanced codes that say: no such mailbox, no such domain, not here any more (RFC 3463 §3.2, §3.5; 5.1.10 is RFC 7505's null MX).
HARD_CODES = frozenset({"5.1.0", "5.1.1", "5.1.2", "5.1.3", "5.1.4", "5.1.6", "5.1.10", "5.2.1", "5.4.4", "5.4.310"})


class Severity(IntEnum):
    DELIVERED = 0
    DELAYED = 1
    SOFT = 2
    HARD = 3


def of_recipient(status: str | None, diagnostic: str, action: str, report: str) -> Severity:
    """One recipient of a DSN: `diagnostic` is what its server said, `report` the text for people, read where it is silent."""
    action = action.strip().lower()
    if action in ("delivered", "relayed", "expanded") or (status or "").startswith("2."):
        return Severity.DELIVERED
    if action == "delayed":
        return Severity.DELAYED
    by_server = of_words(diagnostic) or of_code(STATUS.findall(diagnostic), status) or of_loose_words(diagnostic)
    return by_server or of_report(report) or Severity.SOFT


def of_report(report: str) -> Severity | None:
    """A report in free text: first the lines in which a server speaks, then its codes, then all the rest."""
    report = report[:WORDS_MAX]
    spoken = " | ".join(line for line in report.split("\n") if _SPOKEN.search(line))
    by_server = of_words(spoken) or of_code(STATUS.findall(spoken), None) or of_loose_words(spoken)
    return by_server or of_words(report) or of_loose_words(report)


def of_words(said: str) -> Severity | None:
    """What a refusal says in plain words: that the address is dead, else any other reason."""
    words = _words(said)
    book = phrasebook()
    if book.has("refused_sender", words):
        return Severity.SOFT  # it is about us
    if book.has("refused_hard", words):
        return Severity.SOFT if _either(words) else Severity.HARD
    return Severity.SOFT if book.has("refused_soft", words) else None


def of_loose_words(said: str) -> Severity | None:
    """What words say that may mean either; asked only where neither plain words nor a code say anything."""
    words = _words(said)
    if phrasebook().has("refused_soft_weak", words):
        return Severity.SOFT
    return Severity.HARD if phrasebook().has("refused_hard_weak", words) else None


def _words(said: str) -> str:
    return plain(_NOISE.sub(" ", said[:WORDS_MAX]))


def _either(words: str) -> bool:
    """ "Mailbox full or no such user": it names both, so it proves nothing."""
    return phrasebook().has("refused_either", words)


def of_code(codes: list[str], status: str | None) -> Severity | None:
    """What an enhanced status code says by itself; x.0.0 and 5.5.0 say nothing."""
    for one in [*codes, *([status] if status else [])]:
        if not one.endswith((".0.0", "5.5.0")) and one[0] in "45":
            return Severity.HARD if one in HARD_CODES else Severity.SOFT
    return None
