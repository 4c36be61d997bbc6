"""An introduction is a matter of addresses first: the client writes to someone outside both companies, with the rep in To or Cc.
Words only have to agree: the stranger is spoken to or spoken of, or it is said that people are put in touch. A lawyer or
an assistant in copy is no prospect."""

from __future__ import annotations

import re

from engine.core.classify import names
from engine.core.classify.evidence import Evidence, domain_of, without_tag
from engine.core.model import Person
from engine.core.phrases import phrasebook, plain

INTRODUCED_MAX = 5
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
    known = {one.email.lower() for one in evidence.reader.prospects}
    said = f"{evidence.words} | {evidence.subject}"
    spoken = [person for person in strangers if person.email in known or mentions(said, person)]
    if _are_helpers(strangers, evidence, named=bool(spoken)):
        return ()
    if spoken or _written_to(strangers, evidence) or _says_so(evidence):
        return tuple(_completed(person, evidence) for person in strangers)
    return ()


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
    """ "Copying our lawyer, Dr Wolff": said of a stranger, or of nobody who is named; "my assistant says I must run" is not."""
    sentences = [one for one in evidence.sentences if evidence.says("not_intro", one)]
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


def _written_to(strangers: list[Person], evidence: Evidence) -> bool:
    """The stranger alone in To and the rep in Cc: that is what an introduction by our link looks like."""
    to = evidence.message.to
    return bool(to) and all(person in strangers for person in to)


def _says_so(evidence: Evidence) -> bool:
    return evidence.says("intro") is not None and phrasebook().has("intro", evidence.words)


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
