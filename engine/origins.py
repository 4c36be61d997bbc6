"""Where new business came from: who referred how many, what became of them, and who introduced whom, over as many generations as
there are. It only reads what the referral records say."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from engine.core.model import Contact, Person, Referral
from engine.core.proportion import Share
from engine.installation import Installation
from engine.store import Store

#: Published: of referred leads so many become an opportunity, of prospecting and cold email under so many (`docs/reports.md`).
REFERRED_LEADS, COLD_LEADS = 0.11, 0.01
#: So many generations of introductions are drawn; more would be a mistake in the data.
GENERATIONS_MAX = 20


@dataclass(frozen=True)
class Referrer:
    """A client, and how many people they gave, in this span of time, and what has become of those since."""

    client: Contact
    named: int
    introduced: int
    met: int
    won: int


@dataclass(frozen=True)
class Customer:
    """A prospect who was won: whom the team owes it to, how it was learned, and from which sequence it came."""

    prospect: Person
    clients: tuple[Contact, ...]
    rep: str
    source: str
    sequence: str
    named_at: datetime
    won_at: datetime


@dataclass(frozen=True)
class Leads:
    """Everybody who was referred, each once, and how many of them were met (an opportunity) and won."""

    met: Share
    won: Share


def referred(inst: Installation, first: datetime, after: datetime, rep: str = "") -> list[Referral]:
    """Those who were named from `first` until before `after` (UTC); `rep` keeps one rep's."""
    return [r for r in inst.store.referrals() if first <= r.named_at < after and (not rep or r.rep == rep)]


def referrers(inst: Installation, first: datetime, after: datetime, rep: str = "") -> list[Referrer]:
    """The clients who gave somebody in that time: by whom was won, then met, then introduced."""
    theirs: dict[str, list[Referral]] = defaultdict(list)
    for referral in referred(inst, first, after, rep):
        theirs[referral.client].append(referral)
    found = [_referrer(client, given) for id, given in theirs.items() if (client := inst.store.contact(id))]
    return sorted(found, key=lambda r: (-r.won, -r.met, -r.introduced, -r.named, r.client.email))


def _referrer(client: Contact, given: list[Referral]) -> Referrer:
    reached = [sum(getattr(r, f"{stage}_at") is not None for r in given) for stage in ("introduced", "met", "won")]
    return Referrer(client, len(given), *reached)


def leads(inst: Installation, first: datetime, after: datetime, rep: str = "") -> Leads:
    """What became of those who were referred in that time."""
    by_person: dict[str, list[Referral]] = defaultdict(list)
    for referral in referred(inst, first, after, rep):
        by_person[_key(referral)].append(referral)
    met = sum(any(r.met_at or r.won_at for r in every) for every in by_person.values())
    won = sum(any(r.won_at for r in every) for every in by_person.values())
    return Leads(Share(met, len(by_person)), Share(won, len(by_person)))


def customers(inst: Installation, first: datetime, after: datetime, rep: str = "") -> list[Customer]:
    """Who was won from `first` until before `after` (UTC), the latest first; whoever was referred by several is one customer."""
    families = inst.store.families_of_referrals()
    by_person: dict[str, list[Referral]] = defaultdict(list)
    for referral in inst.store.referrals():
        if referral.won_at and first <= referral.won_at < after and (not rep or referral.rep == rep):
            by_person[_key(referral)].append(referral)
    found = [_customer(inst.store, every, families) for every in by_person.values()]
    return sorted(found, key=lambda c: c.won_at, reverse=True)


def _customer(store: Store, referrals: list[Referral], families: dict[str, str]) -> Customer:
    earliest = referrals[0]
    root = store.enrollment(families.get(earliest.id, ""))
    clients = tuple(client for r in referrals if (client := store.contact(r.client)))
    won = min(r.won_at for r in referrals if r.won_at)
    origin = root.sequence if root else ""
    return Customer(earliest.prospect, clients, earliest.rep, earliest.source, origin, earliest.named_at, won)


def _key(referral: Referral) -> str:
    return referral.prospect.email.lower() or referral.id


# --- who introduced whom ---------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Branch:
    """Somebody, what became of them (None: the client with whom it began), and whom they referred in turn."""

    name: str
    company: str
    referral: Referral | None = None
    branches: tuple[Branch, ...] = ()

    @property
    def size(self) -> int:
        """How many lines it takes to draw."""
        return 1 + sum(branch.size for branch in self.branches)


def became(branch: Branch) -> str:
    """`introduced, won`: that there was an introduction, and the state."""
    if branch.referral is None:
        return ""
    introduced = ["introduced"] if branch.referral.introduced_at else []
    return ", ".join(
        [*introduced, *([branch.referral.state] if branch.referral.state != "named" or not introduced else [])]
    )


def branch_lines(branch: Branch) -> Iterator[str]:
    """A tree in plain characters, a line for each person."""
    name = f"{branch.name}, {branch.company}" if branch.company else branch.name
    yield name + (f": {became(branch)}" if branch.referral else "")
    for place, below in enumerate(branch.branches):
        last = place == len(branch.branches) - 1
        first, *others = branch_lines(below)
        yield ("└─ " if last else "├─ ") + first
        yield from (("   " if last else "│  ") + line for line in others)


def tree(inst: Installation, rep: str = "") -> list[Branch]:
    """Who introduced whom: a root for each client whom nobody had referred, in the order of their first referral."""
    store = inst.store
    given: dict[str, list[Referral]] = defaultdict(list)
    for referral in store.referrals():
        if not rep or referral.rep == rep:
            given[referral.client].append(referral)
    ids = {r.id: contact.id for every in given.values() for r in every if (contact := _contact(store, r))}
    reached: set[str] = set()
    roots = [client for client in given if client not in ids.values()]
    found = [_branch(store, client, None, given, ids, (), reached) for client in roots]
    for client in given:  # a circle has no beginning: the first of it is one
        if client not in reached:
            found.append(_branch(store, client, None, given, ids, (), reached))
    return found


def _contact(store: Store, referral: Referral) -> Contact | None:
    return store.contact_at(referral.prospect.email) if referral.prospect.email else None


def _branch(
    store: Store,
    contact: str,
    referral: Referral | None,
    given: dict[str, list[Referral]],
    ids: dict[str, str],
    path: tuple[str, ...],
    reached: set[str],
) -> Branch:
    reached.add(contact)
    known = store.contact(contact) if contact else None
    person = referral.prospect if referral else Person(known.name, known.email, known.company) if known else Person()
    ends = not contact or contact in path or len(path) >= GENERATIONS_MAX
    below = tuple(
        _branch(store, ids.get(r.id, ""), r, given, ids, (*path, contact), reached)
        for r in (() if ends else given.get(contact, ()))
    )
    name = person.name or (person.email if "@" in person.email else "") or "(erased)"
    return Branch(name, person.company or (known.company if known else ""), referral, below)
