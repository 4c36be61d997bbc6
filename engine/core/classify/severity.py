"""How bad a refusal is. Hard means that the address or its domain is dead, by what the refusing server said in words, by its
enhanced status code (RFC 3463, RFC 5248) or by its reply code, in this order: words are more exact than codes, which servers use
loosely. Every other refusal is soft; delayed means that nothing has happened yet."""

from __future__ import annotations

import re
from enum import IntEnum

from engine.core.phrases import phrasebook, plain

STATUS = re.compile(r"\b([245]\.\d{1,3}\.\d{1,3})\b")
_CODE = re.compile(r"\b([45]\d\d)[ \-]")

#: Enhanced codes that say: no such mailbox, no such domain, not here any more.
HARD_CODES = frozenset(
    {"5.1.0", "5.1.1", "5.1.2", "5.1.3", "5.1.4", "5.1.6", "5.1.10", "5.2.1", "5.4.4", "5.4.310", "5.5.4"}
)
#: The same classes as 4.x.x: a domain that cannot be found for days is dead, a mailbox that is said to be unknown "for now" is not.
DEAD_WHEN_EXPIRED = frozenset({"4.4.4", "5.4.4"})


class Severity(IntEnum):
    DELIVERED = 0
    DELAYED = 1
    SOFT = 2
    HARD = 3


def of_refusal(status: str | None, words: str, action: str = "failed") -> Severity:
    """Severity of one recipient's refusal. `words` is the diagnostic as the server gave it, `action` RFC 3464's."""
    action = action.strip().lower()
    if action in ("delivered", "relayed", "expanded"):
        return Severity.DELIVERED
    if action == "delayed":
        return Severity.DELAYED
    said = plain(words)
    by_words = of_words(said)
    if by_words is not None:
        return by_words
    code = STATUS.search(words)
    for one in (code[1] if code else None, status):
        if one and not one.endswith(".0.0"):
            return Severity.HARD if one in HARD_CODES else Severity.SOFT
    return Severity.SOFT


def of_words(said: str) -> Severity | None:
    """What a diagnostic in `plain` form says. A soft reason beats a hard word: "user unknown or mailbox full" proves nothing."""
    book = phrasebook()
    soft = book.find("refused_soft", said)
    hard = book.find("refused_hard", said)
    if soft and not (hard and hard[0].start < soft[0].start):
        return Severity.SOFT
    return Severity.HARD if hard else None
