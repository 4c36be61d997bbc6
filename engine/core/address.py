"""What an address says about who somebody is: their company, unless it is freemail, and whether two names mean one prospect."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from engine.core.model import Person

#: Domains where an address says nothing about a company.
FREEMAIL = frozenset(
    [
        "gmail.com",
        "googlemail.com",
        "outlook.com",
        "hotmail.com",
        "live.com",
        "msn.com",
        "yahoo.com",
        "yahoo.de",
        "yahoo.fr",
        "yahoo.co.uk",
        "ymail.com",
        "icloud.com",
        "me.com",
        "mac.com",
        "aol.com",
        "gmx.de",
        "gmx.net",
        "gmx.at",
        "gmx.ch",
        "web.de",
        "t-online.de",
        "freenet.de",
        "mail.com",
        "proton.me",
        "protonmail.com",
        "fastmail.com",
        "zoho.com",
        "orange.fr",
        "free.fr",
        "laposte.net",
        "wanadoo.fr",
        "libero.it",
        "virgilio.it",
        "tiscali.it",
        "terra.es",
        "uol.com.br",
        "bol.com.br",
        "wp.pl",
        "o2.pl",
        "onet.pl",
        "interia.pl",
        "seznam.cz",
        "centrum.cz",
        "qq.com",
        "163.com",
        "126.com",
        "sina.com",
        "naver.com",
        "yandex.ru",
        "mail.ru",
        "bluewin.ch",
        "ziggo.nl",
        "kpnmail.nl",
        "telenet.be",
        "skynet.be",
        "online.no",
        "telia.com",
    ]
)


def domain_of(address: str) -> str:
    """The company's domain of an address; empty for freemail, where it says nothing."""
    domain = address.rpartition("@")[2].lower()
    return "" if domain in FREEMAIL else domain


def person_of(given: Mapping[str, Any] | None) -> Person:
    """A person as a variable holds them; nobody where there is none."""
    return Person(**{name: str((given or {}).get(name, "") or "") for name in asdict(Person())})


def same_prospect(one: Person, other: Person) -> bool:
    """Whether two who were named by one client are one: by the address where both have one, else by the name, unless their
    companies say otherwise."""
    if one.email and other.email:
        return one.email.lower() == other.email.lower()
    names, companies = (
        {str(getattr(p, part)).strip().casefold() for p in (one, other)} for part in ("name", "company")
    )
    return len(names) == 1 and names != {""} and len(companies - {""}) < 2


def prospect_key(person: Person | Mapping[str, Any] | None) -> str:
    """By what a prospect is known as the same: the address, else name and company."""
    if not person:
        return ""
    get = person.get if isinstance(person, Mapping) else lambda k, d="": getattr(person, k, d)
    email, name, company = (str(get(k, "") or "").strip().lower() for k in ("email", "name", "company"))
    return email or " / ".join(filter(None, (name, company)))
