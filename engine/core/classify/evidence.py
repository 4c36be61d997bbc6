"""What the detectors look at: one message beside what is known of its reader, each view of it computed once and only when
asked for. Nothing here decides."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property

from engine.core import quoting
from engine.core.address import FREEMAIL
from engine.core.model import Message, Person, Reader
from engine.core.phrases import Hit, is_cjk, phrasebook, plain

#: Words are looked for in this much of the new text; whoever writes more has written a letter, and a letter is a `reply`.
WORDS_MAX = 8000
SENTENCES_MAX = 200
WORDS_OF_THE_ASK_MAX = 2000
#: So many of its commonest words prove a language.
TELLING_WORDS_MIN = 3

#: Words of an email that say what it is about have at least so many letters.
TOPIC_LETTERS_MIN = 3

#: Kinds of phrases beside which others, of the kind `not_KIND`, say where the same words mean something else.
MEANT_OTHERWISE = ("yes", "hold", "lead")
#: What makes a yes less counts in any language as long as the text is too short to prove one.
IN_ANY_LANGUAGE = ("doubt", "you")

_ENDINGS = ("ing", "ed", "es", "s", "e")
_WORD = re.compile(r"\w+")
_SENTENCE_END = re.compile(r"(?<=[.!?;])\s+|(?<=[。！？；])|\n")


@dataclass(frozen=True)
class Evidence:
    """A message and its reader, with the views that several detectors share."""

    message: Message
    reader: Reader

    @cached_property
    def cut(self) -> quoting.Cut:
        return quoting.cut(quoting.body_of(self.message), self.message.sender.name)

    @cached_property
    def body(self) -> str:
        """The whole decoded text, quotes and all: for what machines write."""
        return quoting.body_of(self.message)

    @cached_property
    def words(self) -> str:
        return plain(self.cut.text[:WORDS_MAX])

    @cached_property
    def subject(self) -> str:
        return plain(self.message.subject)

    @cached_property
    def pieces(self) -> tuple[str, ...]:
        """The new text as it was written, sentence by sentence; a lone line is one too."""
        pieces = _SENTENCE_END.split(unwrapped(self.cut.text[:WORDS_MAX]))
        return tuple(one for one in pieces if plain(one))[:SENTENCES_MAX]

    @cached_property
    def sentences(self) -> tuple[str, ...]:
        """The same in `plain` form."""
        return tuple(plain(one) for one in self.pieces)

    @cached_property
    def asked(self) -> str:
        """The email that this answers, as far as it is quoted, and the subject, in `plain` form."""
        return f"{plain(self.cut.quoted[:WORDS_OF_THE_ASK_MAX])} | {self.subject}"

    @cached_property
    def promised(self) -> frozenset[str]:
        """Words of the email that this answers which may say what it is about, without the ending of many."""
        words = set(_WORD.findall(self.asked)) - phrasebook().stop_words.keys()
        return frozenset(stem(word) for word in words if len(word) >= TOPIC_LETTERS_MIN)

    @cached_property
    def languages(self) -> frozenset[str]:
        """What the new text may be written in; empty: unknown, so that any language may be tried."""
        return phrasebook().guess(self.words)

    def header(self, name: str) -> str:
        return next(iter(self.message.headers.get(name, ())), "")

    def has_header(self, *names: str) -> bool:
        return any(name in self.message.headers for name in names)

    def hits(self, kind: str, text: str) -> list[Hit]:
        """Phrases of one kind, in the languages that the text may be in."""
        if (kind, text) not in self._found:
            found = phrasebook().find(kind, text)
            if found and kind in MEANT_OTHERWISE:
                found = _without(found, phrasebook().find(f"not_{kind}", text))
            self._found[kind, text] = [hit for hit in found if self._may_be(kind, hit)] if self.languages else found
        return self._found[kind, text]

    @cached_property
    def _found(self) -> dict[tuple[str, str], list[Hit]]:
        """What `hits` has found: the same text is asked for the same kind by several."""
        return {}

    def _may_be(self, kind: str, hit: Hit) -> bool:
        """In a language of the text; where little tells which that is, a phrase of several words, or a doubt, may be in any."""
        if hit.language in self.languages or hit.language == "machines":
            return True
        telling = " " in hit.phrase.strip() or (kind in IN_ANY_LANGUAGE and not self._is_common(hit.phrase))
        return telling and not self._is_sure_of_language

    def _is_common(self, word: str) -> bool:
        """Whether a word of another language is an everyday one of the text's own: "na" in Polish is no French "n'a"."""
        return is_cjk(word) or not self.languages.isdisjoint(phrasebook().stop_words.get(word, ()))

    @cached_property
    def _is_sure_of_language(self) -> bool:
        scores = phrasebook().scores(self.words)
        return max(scores.values(), default=0) >= TELLING_WORDS_MIN

    def says(self, kind: str, text: str | None = None) -> Hit | None:
        return next(iter(self.hits(kind, self.words if text is None else text)), None)

    @cached_property
    def own_domains(self) -> frozenset[str]:
        """Domains of the client's company: the sender's and those that the store knows; never a freemail domain."""
        known = {domain_of(self.message.sender.email), *self.reader.client_domains}
        if self.reader.client:
            known.add(domain_of(self.reader.client.email))
        return frozenset(known - FREEMAIL - {""})

    @cached_property
    def rep_domains(self) -> frozenset[str]:
        return frozenset(({domain_of(one) for one in self.reader.rep} | self.reader.colleagues) - FREEMAIL - {""})

    def is_outside(self, address: str) -> bool:
        """Whether an address belongs to neither company, nor to the sender or the rep themselves."""
        domain = domain_of(address)
        inside = any(domain == own or domain.endswith("." + own) for own in self.own_domains | self.rep_domains)
        return bool(domain) and not inside and not self.is_rep(address) and not self.is_client(address)

    def is_rep(self, address: str) -> bool:
        return without_tag(address) in {without_tag(one.lower()) for one in self.reader.rep}

    def is_client(self, address: str) -> bool:
        client = self.reader.client.email if self.reader.client else ""
        return without_tag(address) in {without_tag(self.message.sender.email), without_tag(client.lower())} - {""}

    @cached_property
    def rep_names(self) -> frozenset[str]:
        """What the rep may be called by, in `plain` form: "Kim, no." """
        reps = [person for person in self.addressed if self.is_rep(person.email)]
        words = (word for one in reps for word in [*one.name.split(), one.email.partition("@")[0]])
        return frozenset(plain(word) for word in words)

    @cached_property
    def addressed(self) -> tuple[Person, ...]:
        return tuple(dict.fromkeys(self.message.to + self.message.cc))


def unwrapped(text: str) -> str:
    """Lines that a mail client broke in mid-sentence joined again: a long line that goes on in the next."""
    lines = text.split("\n")
    pieces: list[str] = []
    for index, line in enumerate(lines):
        following = lines[index + 1].strip() if index + 1 < len(lines) else ""
        goes_on = (
            len(line) > 50
            and following
            and not following.startswith(("*", "-", "•", "·"))
            and line.rstrip()[-1:] not in ".!?:"
        )
        pieces.append(line.strip() + (" " if goes_on else "\n"))
    return "".join(pieces)


def _without(hits: list[Hit], others: list[Hit]) -> list[Hit]:
    """Hits that do not begin within one of the others."""
    return [hit for hit in hits if not any(one.start <= hit.start < one.end for one in others)]


def masked(words: str, hits: list[Hit]) -> str:
    """A text without what was found in it: without idioms that look like their opposite ("no complaints")."""
    kept, end = "", 0
    for hit in sorted(hits, key=lambda hit: hit.start):
        if hit.end > end:
            kept, end = kept + words[end : hit.start] + "·", hit.end
    return kept + words[end:]


def stem(word: str) -> str:
    """What "closes", "closed" and "close" have in common."""
    ending = next((one for one in _ENDINGS if word.endswith(one)), "")
    return word.removesuffix(ending) if len(word) - len(ending) >= TOPIC_LETTERS_MIN else word


def domain_of(address: str) -> str:
    return address.rpartition("@")[2].lower()


def without_tag(address: str) -> str:
    """`sam+unsubscribe@x` is `sam@x`: the same mailbox."""
    local, at, domain = address.lower().partition("@")
    return local.partition("+")[0] + at + domain
