"""A clear yes or a clear no to what the email asked. Everything is against clarity: a condition, a doubt, a question, a promise to
do it later, a joke. One of them, and the answer is a `reply` for the rep: a wrong guess costs a client, asking a minute."""

from __future__ import annotations

from engine.core.classify.evidence import Evidence
from engine.core.phrases import Hit, is_cjk, phrasebook, plain

YES_WORDS_MAX = 160
NO_WORDS_MAX = 160
WORDS_OF_THE_ASK_MAX = 3000
BARE_YES_WORDS_MAX = 8


def decided(evidence: Evidence) -> tuple[str, str]:
    """("confirmed" | "declined" | "", rule)."""
    words = evidence.words
    if not words or "?" in words or "？" in words:
        return "", ""
    no = declined(evidence)
    if no:
        return "declined", no
    yes = confirmed(evidence)
    return ("confirmed", yes) if yes else ("", "")


def declined(evidence: Evidence) -> str:
    """`no:de`: a refusal in plain words that leaves nothing open."""
    words = _masked(evidence.words, evidence.hits("idioms", evidence.words))
    if len(words.split()) > NO_WORDS_MAX:
        return ""
    hits = evidence.hits("no", words)
    lone = _alone(evidence, "no_alone")
    if not hits and not lone:
        return ""
    if evidence.says("softening", words):
        return ""
    return f"no:{hits[0].language if hits else lone}"


def confirmed(evidence: Evidence) -> str:
    """`yes:fr`: assent without a single reservation."""
    words = _masked(evidence.words, evidence.hits("idioms", evidence.words))
    if len(words.split()) > YES_WORDS_MAX:
        return ""
    hits = evidence.hits("yes", evidence.words)
    lone = _alone(evidence, "yes_alone")
    if not hits and not lone:
        return ""
    if evidence.says("doubt", words) or _about_something_else(evidence, hits):
        return ""
    return f"yes:{hits[0].language if hits else lone}"


def _about_something_else(evidence: Evidence, hits: list[Hit]) -> bool:
    """A bare yes answers what was asked. To "could you introduce me?" it is a promise, not a confirmation; only words of their own
    ("promise kept", "all three done") say what they mean."""
    book = phrasebook()
    asked = plain(evidence.cut.quoted[:WORDS_OF_THE_ASK_MAX]) + " | " + evidence.subject
    generic = all(book.equals("yes_generic", evidence.words[hit.start : hit.end]) for hit in hits)
    if book.has("asks_confirm", asked):
        return generic and not _is_all_there_is(evidence)
    return generic or evidence.says("future") is not None or book.has("asks_other", asked)


def _masked(words: str, hits: list[Hit]) -> str:
    """The text without the idioms that look like their opposite ("no complaints")."""
    for hit in sorted(hits, key=lambda hit: -hit.start):
        words = words[: hit.start] + "·" + words[hit.end :]
    return words


def _alone(evidence: Evidence, kind: str) -> str:
    """A word that is an answer only where it is a sentence of its own, the first that is said."""
    for sentence in evidence.sentences[:2]:
        bare = sentence.strip(" .!;:-–👍🙏😊🙂")
        hit = phrasebook().starts(kind, bare) if bare else None
        if (
            hit
            and hit.end == len(bare)
            and (not evidence.languages or hit.language in evidence.languages or is_cjk(bare))
        ):
            return hit.language
    return ""


def _is_all_there_is(evidence: Evidence) -> bool:
    """Whether a bare yes is the message: short or beside praise, and nothing of what comes next ("Yes, let us talk")."""
    if evidence.says("future") or evidence.says("softening"):
        return False
    return len(evidence.words.split()) <= BARE_YES_WORDS_MAX or evidence.says("praise") is not None
