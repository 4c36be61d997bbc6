"""A year in the life of a team: five reps and their clients, each with a character, the shipped sequences, the real verbs on a
clock that jumps, every answer a real mail that the classifier reads. `python tests/year.py` plays it in full and writes what the docs
show; a test plays a smaller one and holds the rules of conduct on every message that left.

The same seed gives the same year."""

from __future__ import annotations

import contextlib
import heapq
import itertools
import random
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from office import Office

from engine import enrollments, inbox, outbox, triggers
from engine.core.model import Contact, Enrollment, OutboxMessage, State, Task
from engine.core.needs import Refusal
from engine.enrollments import Wish
from engine.errors import UserError
from engine.library import parse, read_sources
from engine.store import counted_ids, open_store

ROOT = Path(__file__).parent.parent
ZONE = ZoneInfo("Europe/London")
BEGIN = datetime(2026, 1, 5, 8, 0, tzinfo=UTC)  # a Monday
DAYS = 364
FULL_CLIENTS, SEED = 400, 11
REPS = ("Sam Carter", "Kim Novak", "Ines Duarte", "Tom Berg", "Ada Osei")
DOMAIN = "brightside.example"
SEGMENTS = ("builders", "carriers", "printers")
FIRST = [
    "Dana",
    "Lee",
    "Noor",
    "Ulrich",
    "Petra",
    "Max",
    "Sue",
    "Omar",
    "Rita",
    "Jan",
    "Ewa",
    "Paul",
    "Nina",
    "Ivo",
    "Lena",
    "Amir",
    "Cora",
    "Hugo",
    "Mira",
    "Otto",
]
LAST = [
    "Reyes",
    "Moran",
    "Haddad",
    "Weber",
    "Novak",
    "Okoro",
    "Lindt",
    "Farag",
    "Costa",
    "Vance",
    "Adler",
    "Brandt",
    "Keller",
    "Silva",
    "Moreau",
    "Stein",
    "Roth",
    "Mayer",
    "Kovac",
    "Dunn",
]
CONFIG = f"""
store: ":memory:"
company: {{name: Brightside, domains: [{DOMAIN}], zone: Europe/London, country: GB}}
mailboxes:
MAILBOXES
"""
MAILBOX = (
    "  - {{address: {address}, name: {name}, per_day: 40, gap: 0-0 seconds,"
    " variables: {{ideal_client: building firms with 20 to 200 people, problem: tenders that take weeks{useful}}}}}"
)
USEFUL = ", useful: The new rules for public tenders on one page"
#: The first two reps have something useful to send every quarter, and hold a yearly review with every client.
THOROUGH = 2

#: How often each character occurs among a hundred clients.
CHARACTERS = {
    "champion": 14,  # confirms, names, introduces, tells why
    "helpful": 24,  # confirms, names somebody, introduces after a nudge or two
    "shy": 14,  # confirms, and would rather not introduce anybody
    "lukewarm": 12,  # is not sure, and says so
    "unhappy": 8,  # says no to the review
    "silent": 16,  # never answers
    "away": 6,  # is helpful, and often out of the office
    "dead": 3,  # the address does not exist any more
    "leaves": 3,  # asks never to be mailed again
}
#: How often a name comes where one is asked for, and an introduction on each email that speaks of it.
NAMES = 0.5
INTRODUCES = {"champion": 0.35, "": 0.18}


@dataclass
class Person:
    """A client or a prospect, and what is true of them whatever the engine believes."""

    name: str
    email: str
    company: str
    rep: str
    character: str
    dice: random.Random
    prospects: list[Person] = field(default_factory=list)
    decided: set[str] = field(default_factory=set)  # whom they have introduced, or would rather not


class Year:
    """One team, from `BEGIN` on."""

    def __init__(self, folder: Path, clients: int, seed: int = SEED, days: int = DAYS) -> None:
        self.reps = {f"{name.split()[0].lower()}@{DOMAIN}": name for name in REPS}
        useful = [USEFUL] * THOROUGH + [""] * len(self.reps)
        given = zip(self.reps.items(), useful, strict=False)
        mailboxes = "\n".join(MAILBOX.format(address=a, name=n, useful=more) for (a, n), more in given)
        store = open_store(":memory:", counted_ids())
        library, problems = parse(read_sources(ROOT)[0])
        assert not problems, [str(problem) for problem in problems]
        self.office = Office(store, folder, CONFIG.replace("MAILBOXES", mailboxes), library)
        self.inst, self.store = self.office.inst, store
        self.office.now = BEGIN
        self.end = BEGIN + timedelta(days=days)
        self.dice, self.team = random.Random(f"year {seed}"), clients
        self._agenda: list[tuple[datetime, int, Callable[[], None]]] = []
        self._order = itertools.count()
        self.people: dict[str, Person] = {}
        self.sent: list[OutboxMessage] = []
        self.refused: list[tuple[datetime, str, Refusal]] = []
        self._clients(clients, seed)

    @property
    def now(self) -> datetime:
        return self.office.now

    # --- the team ----------------------------------------------------------------------------------------------------

    def _clients(self, count: int, seed: int) -> None:
        kinds = [kind for kind, number in CHARACTERS.items() for _ in range(number)]
        for n in range(count):
            dice = random.Random(f"{seed}/{n}")
            rep = list(self.reps)[n % len(self.reps)]
            # Every tenth client has a colleague among the clients: the rules for a company have something to do.
            company = f"Firm {n - 1 if n % 10 == 9 else n}"
            person = self._person(dice, company, rep, dice.choice(kinds))
            since = BEGIN.date() - timedelta(days=dice.randrange(40, 700))
            fields = {"segment": dice.choice(SEGMENTS), "contract_date": since.isoformat()}
            self.store.add_contact(Contact("", person.email, person.name, company=company, owner=rep, fields=fields))
            self._plan(self._workday(dice.randrange(0, 300)), self._first_word(person))

    def _person(self, dice: random.Random, company: str, rep: str, character: str) -> Person:
        name = f"{dice.choice(FIRST)} {dice.choice(LAST)}"
        number = len(self.people)
        email = f"{name.replace(' ', '.').lower()}@{company.replace(' ', '').lower()}.example"
        if email in self.people:
            name = f"{name}son"
            email = f"{name.replace(' ', '.').lower()}{number}@{company.replace(' ', '').lower()}.example"
        self.people[email] = Person(name, email, company, rep, character, dice)
        return self.people[email]

    def _first_word(self, person: Person) -> Callable[[], None]:
        """How the programme begins for a client: mostly with a review, else with a moment; sometimes the rep asks too early."""

        def act() -> None:
            dice = person.dice
            if dice.random() < 0.15:
                self._enroll(person, "ask", {})
            if dice.random() < 0.2:
                score = dice.choice((6, 8, 9, 10)) if person.character not in ("champion", "helpful") else 10
                told = triggers.Report(person.email, "nps", {"score": score})
                triggers.report(self.inst, told, self.now)
                return
            values = {
                "review_call": self._call(dice),
                "problems": ["Tenders took three weeks"],
                "results": ["Tenders out in two days: now one and a half"],
            }
            self._enroll(person, "value_review", values)

        return act

    def _call(self, dice: random.Random) -> str:
        """A time for a call, in a week or two."""
        call = (self.now + timedelta(days=dice.randrange(8, 15))).astimezone(ZONE)
        call += timedelta(days=max(0, 7 - call.weekday()) if call.weekday() > 4 else 0)
        return f"{call:%Y-%m-%d} {dice.choice(('10:00', '11:00', '14:00'))}"

    def _enroll(self, person: Person, sequence: str, values: dict[str, Any], override: str = "") -> bool:
        done = enrollments.enroll(self.inst, Wish(person.email, sequence, values, person.rep, override), self.now)
        if isinstance(done, Enrollment):
            return True
        self.refused += [(self.now, person.email, refusal) for refusal in done]
        return False

    # --- time --------------------------------------------------------------------------------------------------------

    def _plan(self, at: datetime, act: Callable[[], None]) -> None:
        heapq.heappush(self._agenda, (at, next(self._order), act))

    def _workday(self, after: int, hour: int = 9) -> datetime:
        at = BEGIN + timedelta(days=after, hours=hour - 8, minutes=self.dice.randrange(0, 50))
        return at + timedelta(days=max(0, 7 - at.weekday()) if at.weekday() > 4 else 0)

    def play(self) -> Year:
        """The whole of it."""
        self._morning()
        while True:
            due = [self.store.next_due(), self._agenda[0][0] if self._agenda else None]
            at = max(min(filter(None, due), default=self.end), self.now)
            if at >= self.end:
                return self
            if at == self.now:
                at += timedelta(seconds=1)
            self.office.now = at
            while self._agenda and self._agenda[0][0] <= self.now:
                heapq.heappop(self._agenda)[2]()
            triggers.fire_waiting(self.inst, self.now)
            for message in self.office.work():
                self.sent.append(message)
                self._receives(message)

    # --- what people answer ------------------------------------------------------------------------------------------

    def _receives(self, message: OutboxMessage) -> None:
        person = self.people.get(message.recipient)
        enrollment = self.store.enrollment(message.enrollment)
        if person is None or enrollment is None:
            return
        if person.character == "dead":
            self._later(person, timedelta(minutes=3), lambda: self._mail(person, self.office.report(message, "5.1.1")))
            return
        if person.character == "away" and person.dice.random() < 0.3:
            back = (self.now + timedelta(days=9)).astimezone(ZONE)
            note = f"Thank you for your email. I am out of the office and will be back on {back:%A} {back.day} {back:%B %Y}."
            headers = {"Auto_Submitted": "auto-replied"}
            subject = f"Automatic reply: {message.subject}"
            raw = self.office.mail(note, person.email, message, subject=subject, To=person.rep, **headers)
            self._later(person, timedelta(minutes=1), lambda: self._mail(person, raw))
            return
        words = self._words(person, enrollment, message)
        if words:
            delay = timedelta(hours=person.dice.choice((1, 3, 20, 26, 50)), minutes=person.dice.randrange(0, 60))
            at = (self.now + delay).astimezone(ZONE)
            if not 7 <= at.hour < 22:  # people sleep
                at = at.replace(hour=7) + timedelta(days=at.hour >= 22)
            self._plan(at.astimezone(UTC), lambda: self._says(person, message, words))

    def _later(self, person: Person, delay: timedelta, act: Callable[[], None]) -> None:
        self._plan(self.now + delay, act)

    def _words(self, person: Person, enrollment: Enrollment, message: OutboxMessage) -> str:
        """What somebody of this character writes to this email; empty for nothing, `introduction` for the introduction itself."""
        kind = self.inst.library.sequences[enrollment.sequence].kind
        sure, dice = person.character in ("champion", "helpful", "away"), person.dice
        if person.character == "leaves":
            return "Please unsubscribe me and do not write to me again."
        if person.character == "silent":
            return ""
        if kind == "outreach":
            willing = ("", "Happy to talk. Does Thursday at ten work?")
            unwilling = ("", "", "", "No, thank you, we are not interested.")
            return dice.choice(willing if enrollment.sequence == "introduction_answer" else unwilling)
        if message.step == "department":
            return "Nobody comes to mind, sorry." if dice.random() < 0.5 else ""
        if kind == "review" and message.step in ("confirm", "reminder"):
            if sure or person.character == "shy":
                return "Hi,\n\nYes, you kept your promise." if dice.random() < 0.85 else ""
            return {"lukewarm": "Hm. Some of it was fine, I would have to think about it.",
                    "unhappy": "No, you did not keep your promise, I am afraid."}.get(person.character, "")  # fmt: skip
        if kind == "ask":
            if not sure:
                return "Thank you for asking, but I would rather not." if dice.random() < 0.8 else ""
            if message.step in ("anyone_else", "one_more") and dice.random() < 0.75:
                return "No, sorry. That is everyone I can think of."
            return self._names(person) if dice.random() < NAMES else ""
        if kind in ("intro", "follow_up") and sure:
            if dice.random() < INTRODUCES.get(person.character, INTRODUCES[""]):
                return "introduction"
            return "On reflection I would rather not introduce you to them." if dice.random() < 0.06 else ""
        if kind == "thanks" and message.step == "thanks" and dice.random() < 0.15:
            return "You did what you had promised, that is why. He likes to be called in the morning."
        if kind == "favour":
            return dice.choice(("", "Yes, happy to write a few sentences.", "No, thank you, I would rather not."))
        return ""

    def _names(self, person: Person) -> str:
        company = f"House {len(self.people)}"
        known = self._person(person.dice, company, person.rep, person.dice.choice(("helpful", "silent", "lukewarm")))
        person.prospects.append(known)
        return f"You should talk to {known.name} at {company}. The email is {known.email}. They have the same problem."

    def _says(self, person: Person, message: OutboxMessage, words: str) -> None:
        enrollment = self.store.enrollment(message.enrollment)
        assert enrollment is not None
        prospect = self.people.get((enrollment.variables.get("prospect") or {}).get("email", ""))
        if prospect and self.inst.library.sequences[enrollment.sequence].kind in ("intro", "follow_up"):
            if prospect.email in person.decided:  # they have said what they had to say about this one
                return
            person.decided.add(prospect.email)
        if words != "introduction":
            self._mail(person, self.office.mail(words, person.email, message, To=message.mailbox))
        elif prospect:
            to, first = f"{prospect.name} <{prospect.email}>", prospect.name.split()[0]
            text = f"Hi {first},\n\nI would like to introduce you to the people who helped us. They are in copy.\n"
            raw = self.office.mail(text, person.email, None, subject="An introduction", To=to, Cc=message.mailbox)
            self._mail(person, raw)
            self._plan(self._noticed(person.dice), lambda: self._answers(prospect))

    def _noticed(self, dice: random.Random) -> datetime:
        """When a rep gets round to an introduction: mostly within minutes, sometimes hours later, and at night in the morning."""
        local = self.now.astimezone(ZONE)
        if local.weekday() > 4 or not 8 <= local.hour < 18:
            days = 1 if local.hour >= 18 else 0
            at = local.replace(hour=9, minute=dice.randrange(0, 40)) + timedelta(days=days)
            return at + timedelta(days=max(0, 7 - at.weekday()) if at.weekday() > 4 else 0)
        return self.now + timedelta(minutes=dice.choice((4, 8, 12, 20, 27, 75, 300)))

    def _answers(self, prospect: Person) -> None:
        """The rep lets the draft go, or one time in six writes by hand."""
        if prospect.dice.random() < 1 / 6:
            raw = self.office.mail(
                "Good to meet you.", prospect.rep, None, subject="Re: An introduction", To=prospect.email
            )
            self.office.receive(raw, mailbox=prospect.rep, folder="Sent", kind="sent")
        for draft in outbox.drafts(self.inst):
            if draft.recipient == prospect.email:
                outbox.approve(self.inst, draft, self.now)

    def _mail(self, person: Person, raw: bytes) -> None:
        self.office.receive(raw, mailbox=person.rep)

    # --- what the reps do --------------------------------------------------------------------------------------------

    def _morning(self) -> None:
        """Schedules are looked at. Every workday drafts are read, answers settled, tasks done; now and then somebody tries what is not allowed."""
        if self.now.astimezone(ZONE).weekday() < 5:
            triggers.advance(self.inst, self.now)
            for draft in outbox.drafts(self.inst):
                decide = outbox.approve if self.dice.random() < 0.9 else outbox.reject
                decide(self.inst, draft, self.now)
            for row in self.store.open_inbound():
                self._settle(row.contact)
            for enrollment in self.store.running("", 10_000):
                if enrollment.state is State.PAUSED:
                    self._settle(enrollment.contact)
            for task in self.store.open_tasks():
                enrollments.finish_task(self.inst, task.id, self.now)
                if task.kind == "complete":
                    self._review_the_year(task)
            self._news()
            if self.dice.random() < 0.3:
                self._tempted()
        self._plan(self.now.replace(hour=8, minute=30, second=0, microsecond=0) + timedelta(days=1), self._morning)

    def _review_the_year(self, task: Task) -> None:
        """The rep has been told that the contract's date comes, and has arranged the call."""
        contact = self.store.contact(task.contact)
        person = self.people[contact.email] if contact else None
        if person and "annual_review" in task.note and person.rep in list(self.reps)[:THOROUGH]:
            values = {
                "review_call": self._call(person.dice),
                "bought": "The tender tool for twelve seats",
                "results": ["Tenders out in a day and a half"],
                "goals": "Bid for twice as many tenders with the same people",
            }
            self._enroll(person, "annual_review", values)

    def _settle(self, contact: str) -> None:
        known = self.store.contact(contact)
        if known is None:
            return
        with contextlib.suppress(UserError):  # settled with another of theirs
            inbox.settle(self.inst, known.email, self.dice.choice(("continue", "stop")), {}, self.now)

    def _news(self) -> None:
        """What became of those who were referred: some are met, some of them won."""
        for referral in self.store.referrals():
            if referral.state in ("won", "lost") or not referral.prospect.email or self.dice.random() > 0.04:
                continue
            person = self.people.get(referral.prospect.email)
            if referral.met_at:
                word = "won" if person and person.dice.random() < 0.3 else "lost"
            elif referral.introduced_at or referral.contacted_at:
                word = "met" if self.dice.random() < (0.6 if referral.introduced_at else 0.1) else "lost"
            else:
                continue
            inbox.mark(self.inst, referral.prospect.email, word, {}, self.now)

    def _tempted(self) -> None:
        """A rep in a hurry asks somebody, whatever stands against it, and now and then overrules it with a reason."""
        person = self.dice.choice([p for p in self.people.values() if self.store.contact_at(p.email)])
        override = "they told me on the phone how happy they are" if self.dice.random() < 0.1 else ""
        self._enroll(person, "ask", {}, override)
        if self.dice.random() < 0.3:
            raw = self.office.mail("It was good to see you.", person.rep, None, subject="A word", To=person.email)
            self.office.receive(raw, mailbox=person.rep, folder="Sent", kind="sent")


def play(folder: Path, clients: int = FULL_CLIENTS, seed: int = SEED, days: int = DAYS) -> Year:
    return Year(folder, clients, seed, days).play()


# --- what the docs show ----------------------------------------------------------------------------------------------

PAGE = """\
# A year of a team

Five reps and {clients} clients of nine kinds of character, from the champion to the one whose address is dead, through the sequences that ship: {sent:,}
emails left, {answers:,} messages came back, and each of them was a real mail that the classifier read. The clock jumps; everything else is the
code that runs. The clients are invented, so the figures say nothing about yours: they show what a year looks like in the report.

<!-- not run: it takes minutes -->
```sh
make year CLIENTS={clients}     # plays it again, with the same seed, and writes this page; 400 where no number is given
```

![The funnel of the year](pictures/year-funnel.svg)

Of {referred} people who were referred, {met} were met: {rate} (95 % interval {interval}). Published figures put referred leads at about 11 % and
cold email at under 1 %.

Of {introduced} who were introduced, {soon} had an answer within 30 minutes, and {warm} within 48 hours.

![By month: clients asked, who introduced somebody, who brought a customer](pictures/year-months.svg)

| rep | {stages} |
| --- | {dashes} |
{reps}

| sequence | {stages} |
| --- | {dashes} |
{sequences}

{asked} of {all} clients were asked (whoever was won counts among them from then on). Of the others:

| clients | why they were never asked |
| --- | --- |
{whys}

## What was refused
Reps in a hurry tried what the rules of conduct do not allow, and were told why. So often each rule said no:

| rule | times |
| --- | --- |
{refused}

`tests/test_year.py` plays such a year in every test run and holds the rules on every message that left: earned right; one ask for a company
and quarter, and none in the middle of a conversation; the rest after a no, and then one smaller favour; one running enrollment for a person,
sequence and prospect; the caps for person and company; no follow-up after an answer; the rep's own hand; absences, opt-outs and dead addresses;
windows; approval of first words. `YEAR_CLIENTS={clients} pytest tests/test_year.py` holds them on the year above.
"""


def write(played: Year, docs: Path) -> None:
    """The page and its pictures."""
    from engine import charts
    from engine.report_page import SHOWN, figures
    from engine.reports import STAGES, WHYS, Funnel, funnel

    told = figures(played.inst, played.now)
    months = funnel(told.past, ["period"], total=True)
    series = {stage: [f.counts[stage] for f in months] for stage in SHOWN}
    pictures = {
        "year-funnel": charts.funnel([(stage, told.total.counts[stage]) for stage in STAGES]),
        "year-months": charts.columns([f.group["period"] for f in months], series),
    }
    for name, svg in pictures.items():
        (docs / "pictures" / f"{name}.svg").write_text(charts.standalone(svg), encoding="utf-8")

    def rows(found: list[Funnel], by: str) -> str:
        names = {f.group[by]: played.reps.get(f.group[by], f.group[by]) for f in found}
        return "\n".join(f"| {names[f.group[by]]} | {' | '.join(str(f.counts[s]) for s in STAGES)} |" for f in found)

    unasked = [each.why for each in told.coverage.unasked]
    refused = Counter(refusal.rule for _, _, refusal in played.refused)
    page = PAGE.format(
        clients=played.team,
        sent=len(played.sent),
        answers=len(played.store.recent_inbound(1_000_000)),
        referred=told.leads.met.of,
        met=told.leads.met.count,
        rate=charts.percent(told.leads.met.rate),
        interval=charts.interval(told.leads.met),
        stages=" | ".join(STAGES),
        dashes=" | ".join("---" for _ in STAGES),
        reps=rows(funnel(told.past, ["rep"], total=True), "rep"),
        sequences=rows(funnel(told.past, ["sequence"]), "sequence"),
        introduced=sum(speed.warm.of for speed in told.speeds),
        soon=sum(speed.soon.count for speed in told.speeds),
        warm=sum(speed.warm.count for speed in told.speeds),
        asked=told.coverage.asked,
        all=told.coverage.clients,
        whys="\n".join(f"| {unasked.count(why)} | {words} |" for why, words in WHYS.items() if why in unasked),
        refused="\n".join(f"| {rule} | {times} |" for rule, times in refused.most_common()),
    )
    (docs / "year.md").write_text(page, encoding="utf-8")


if __name__ == "__main__":
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        write(play(Path(folder), int(sys.argv[1]) if len(sys.argv) > 1 else FULL_CLIENTS), ROOT / "docs")
