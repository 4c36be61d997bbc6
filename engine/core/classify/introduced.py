"""An introduction is a matter of addresses first: the client writes to someone outside both companies, with the rep in To or Cc.
Words have to agree, for in To and Cc they may be anybody (an engineer, a bookkeeper): it must be said that people are put in
touch, or why; or the stranger is spoken to, and nothing asked of them; or it is the prospect asked about. All else is a `reply`."""

from __future__ import annotations

import re
from collections.abc import Iterator

from engine.core.classify import names
from engine.core.classify.evidence import Evidence, domain_of, without_tag
from engine.core.model import Person
from engine.core.phrases import phrasebook, plain

INTRODUCED_MAX = 5
CALL_WORDS_MAX = 5
HANDS_OVER_WORDS_MAX = 12
ASK_MAX = 2000
#: "Dear Tom": a call that is certainly none of a description.
NAME_WORDS_MAX = 2
#: What stands behind somebody who is spoken to.
_CALL = re.compile(r"[,:!–—]|\s-\s")
_SENTENCES = re.compile(r"(?<=[.!?。！？])\s+|\n")
_ROLE = re.compile(
    r"^(info|hello|office|contact|kontakt|support|help|sales|admin|team|mail|billing|accounts?|invoices?|rechnung|buchhaltung|hr|jobs|press|"
    r"no[-_.]?reply|postmaster|service|reception|orders?|news|newsletter|marketing|legal|privacy|bcc|dropbox|crm|log|archive|unsubscribe|list|"
    r"driver|drivers|dispatch|delivery|deliveries|warehouse|shipping|logistics|purchasing|einkauf|buero|compras|achats|ventas|all|everyone|staff|abuse|webmaster|helpdesk|servicedesk|tickets?)([-_.+].*)?@",
    re.I,
)


def introduced(evidence: Evidence) -> tuple[Person, ...]:
    """The people whom this message introduces to the rep; none where it is no introduction."""
    message = evidence.message
    if not any(evidence.is_rep(person.email) for person in evidence.addressed) or evidence.is_rep(message.sender.email):
        return ()
    if _from_prospect(evidence):
        return ()
    strangers = [person for person in evidence.addressed if _is_stranger(person, evidence)]
    if not strangers or len(strangers) > INTRODUCED_MAX:
        return ()
    said = f"{evidence.words} | {evidence.subject}"
    named = any(_is_asked_about(person, evidence) or mentions(said, person) for person in strangers)
    if _are_helpers(strangers, evidence, named):
        return ()
    agreed = (
        _puts_in_touch(strangers, evidence)
        or _presents(strangers, evidence)
        or _hands_over(evidence)
        or any(_is_asked_about(person, evidence) or _spoken_to(person, evidence) for person in strangers)
    )
    return tuple(_completed(person, evidence) for person in strangers) if agreed else ()


def _from_prospect(evidence: Evidence) -> bool:
    """A prospect who answers all is not introducing the client to the rep."""
    sender = evidence.message.sender.email
    client = evidence.reader.client
    other = (
        client is not None
        and client.email.lower() != sender
        and domain_of(sender) not in evidence.reader.client_domains | {domain_of(client.email)}
    )
    return any(one.email.lower() == sender for one in evidence.reader.prospects) or (
        other and any(p.email == client.email.lower() for p in evidence.addressed if client)
    )


def _are_helpers(strangers: list[Person], evidence: Evidence, named: bool) -> bool:
    """ "Copying our lawyer, Dr Wolff": said of a stranger, or of nobody who is named; "my assistant says I must run" is not, nor is
    what is said to a stranger: "Tom, Kim can tell you how"."""
    told = {plain(one) for person in strangers for one in _told(person, evidence, NAME_WORDS_MAX)}
    sentences = [one for one in evidence.sentences if one not in told and evidence.says("not_intro", one)]
    return bool(sentences) and (
        not named or any(mentions(sentence, person) for sentence in sentences for person in strangers)
    )


def _is_stranger(person: Person, evidence: Evidence) -> bool:
    return (
        evidence.is_outside(person.email)
        and not is_role(person.email)
        and without_tag(person.email) != evidence.message.sender.email
    )


def is_role(address: str) -> bool:
    """`info@`, `accounts@`: a function, not a person."""
    return _ROLE.match(address) is not None


def _is_asked_about(person: Person, evidence: Evidence) -> bool:
    """The prospect of a referral that runs, or whoever the quoted mail gives as the one to be introduced to."""
    known = {one.email.lower() for one in evidence.reader.prospects}
    return person.email in known or person.email in evidence.cut.quoted.lower()


def _puts_in_touch(strangers: list[Person], evidence: Evidence) -> bool:
    """Words of an introduction; not in what a stranger is asked: "Mark, may we introduce them under the NDA?" """
    asked = {
        plain(one) for person in strangers for one, rest in _calls(person, evidence, NAME_WORDS_MAX) if "?" in rest
    }
    return any(evidence.says("intro", one) for one in evidence.sentences if one not in asked)


def _presents(strangers: list[Person], evidence: Evidence) -> bool:
    """ "Tess this is Kim": words that show somebody, with the rep's name right behind them, and a stranger named."""
    for sentence in evidence.sentences:
        shown = {next(iter(sentence[hit.end :].split()), "") for hit in evidence.hits("presents", sentence)}
        if any(word.strip(".,!:-–") in evidence.rep_names for word in shown):
            return any(mentions(evidence.words, person) for person in strangers)
    return False


def _hands_over(evidence: Evidence) -> bool:
    """ "Done, see cc": somebody in copy of so short an answer to the question for people is the answer, unless more is to come."""
    short = len(evidence.words.split()) <= HANDS_OVER_WORDS_MAX
    asked = phrasebook().has("asks_other", plain(evidence.cut.quoted[:ASK_MAX]))
    more = ("future", "softening", "no", "no_alone", "requests", "hold")
    return (
        short
        and asked
        and "?" not in evidence.words
        and evidence.says("hands_over") is not None
        and not any(evidence.says(kind) for kind in more)
    )


def _spoken_to(person: Person, evidence: Evidence) -> bool:
    return any(True for _ in _told(person, evidence, CALL_WORDS_MAX))


def _told(person: Person, evidence: Evidence, call_words_max: int) -> Iterator[str]:
    """ "Owen, she does not bite.": what is said to a stranger and asks nothing of them. "Rick, please sort out the access" is
    said to a helper."""
    for sentence, rest in _calls(person, evidence, call_words_max):
        if not ("?" in rest or any(char.isdigit() for char in rest) or evidence.says("requests", plain(rest))):
            yield sentence


def _calls(person: Person, evidence: Evidence, call_words_max: int) -> Iterator[tuple[str, str]]:
    """Lines and sentences that begin with somebody's name, and what is said to them."""
    for sentence in _SENTENCES.split(evidence.cut.text):
        head, stop, rest = _CALL.sub("\0", sentence.strip(), count=1).partition("\0")
        called = bool(stop) and len(head.split()) <= call_words_max and mentions(plain(head), person)
        if called and not phrasebook().starts("describes", rest):  # "Adding Lucy, who books our travel"
            yield sentence, rest


def mentions(words: str, person: Person) -> bool:
    """Whether a text in `plain` form speaks to or of a person, by any part of their name that is long enough to be one."""
    local = re.split(r"[._+-]", person.email.partition("@")[0])
    parts = [part for part in [*plain(person.name).split(), *local] if len(part) > 2 or not part.isascii()]
    return any(re.search(rf"(?<!\w){re.escape(part)}" if part.isascii() else re.escape(part), words) for part in parts)


def _completed(person: Person, evidence: Evidence) -> Person:
    """The person with a name: of the header, else of the text that speaks of them, else of the address."""
    if person.name and "@" not in person.name:
        return Person(name=person.name.strip("'\" "), email=person.email)
    text = evidence.cut.text
    spoken = [run.text for run in names.runs(text, 0, min(len(text), 2000)) if names.score(run.text, person.email)]
    full = sorted((name for name in spoken if " " in name), key=lambda name: len(name.split()))
    return Person(name=full[0] if full else names.from_address(person.email), email=person.email)
