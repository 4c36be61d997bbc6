"""Who plays in the demo, what each of them does with the email that they get, and how each story must end. All of it is data:
the wires, the engine and the clock know none of these names."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from engine.demo.people import Client, Write, absence, introduction, reply

BEGIN = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)  # a Monday; London has no summer time yet
END = datetime(2026, 4, 20, 11, 0, tzinfo=UTC)
ZONE, COUNTRY = "Europe/London", "GB"

COMPANY = "Brightside"
REP = Client("Sam Carter", "sam@brightside.example", ("Sam Carter", COMPANY))
BARRY = Client("Barry Jones", "barry.jones@northwind.example", ("Barry Jones", "Northwind"))
IDEAL_CLIENT = "building firms with 20 to 200 people"
PROBLEM = "tenders that take weeks to put together"
SEQUENCES = (
    "value_review",
    "ask",
    "intro_template",
    "follow_up_1_1_1",
    "thank_you",
    "introduction_answer",
    "referral_update",
)


@dataclass(frozen=True)
class Turn:
    """`after` the client has received their `email`th email (from 1), they write this. None: their mail server cannot deliver
    it and says so."""

    email: int
    after: timedelta
    write: Write | None


@dataclass(frozen=True)
class RepTurn:
    """`after` a task of this kind came onto the rep's list, the rep says this about the prospect (`whoelse mark`), or with
    `approve` lets the draft to them go."""

    task: str
    after: timedelta
    word: str
    why: str


@dataclass(frozen=True)
class Ending:
    """How a story must have ended: the emails that were sent, in order, as sequence/step; the outcome of each sequence (empty:
    it is still running); how many conversations the client's mail program shows; why the address is suppressed, if it is."""

    emails: tuple[str, ...]
    outcomes: Mapping[str, str]
    conversations: int = 1
    suppressed: str = ""


@dataclass(frozen=True)
class Role:
    """One client: what is known of them, the sequence that they are enrolled in, their script and the end of their story.

    `confirmed` says how the rep learned, before, that they are happy; empty where that is still to be found out. With a `moment`
    (its name and data) nobody enrolls them: it starts what `sequences/triggers.yaml` says. Without a sequence they are no client
    yet: somebody will introduce them."""

    client: Client
    company: str
    about: str
    sequence: str
    values: Mapping[str, Any]
    turns: tuple[Turn, ...]
    ending: Ending
    in_short: str
    confirmed: str = ""
    moment: tuple[str, Mapping[str, Any]] | None = None

    @property
    def dead(self) -> bool:
        """Whether their address leads nowhere."""
        return any(turn.write is None for turn in self.turns)


def _review(call: str, promised: str, kept: str) -> dict[str, Any]:
    return {"review_call": call, "problems": [promised], "results": [kept], "problem": PROBLEM}


DANA = Role(
    Client("Dana Reyes", "dana@acme.example", ("Dana Reyes", "Head of Operations, Acme Tools")),
    "Acme Tools",
    "is happy with the work, knows somebody, and needs a nudge",
    "value_review",
    _review("2026-03-05 10:00", "Tenders took three weeks", "Tenders out in two days: now one and a half"),
    (
        Turn(2, timedelta(hours=1, minutes=30), reply("Hi Sam,", "Yes, you kept your promise.")),
        Turn(
            3,
            timedelta(hours=19),
            reply(
                "Hi Sam,",
                f"You should talk to {BARRY.name} at Northwind. His email is {BARRY.email}. He has the same problem.",
            ),
        ),
        Turn(4, timedelta(hours=3), reply("Hi Sam,", "No, sorry. He is the only one I can think of.")),
        Turn(7, timedelta(hours=2), introduction),
    ),
    Ending(
        (
            "value_review/document",
            "value_review/confirm",
            "ask/who_else",
            "ask/anyone_else",
            "intro_template/introduction",
            "follow_up_1_1_1/day_1",
            "follow_up_1_1_1/week_1",
            "thank_you/thanks",
            "thank_you/update",
            "referral_update/news",
        ),
        {
            "value_review": "confirmed",
            "ask": "named",
            "intro_template": "sent",
            "follow_up_1_1_1": "introduced",
            "thank_you": "",
            "referral_update": "told",
        },
        conversations=4,  # from the review to the nudges; her introduction; how it goes; that he is a client
    ),
    "confirmed, named Barry, introduced him after the 1-week nudge, was thanked and told when he became a client",
)
ULRICH = Role(
    Client("Ulrich Weber", "ulrich@kessel.example", ("Ulrich Weber", "Kessel AG")),
    "Kessel AG",
    "is away for two weeks, and would then rather not",
    "ask",
    {"problem": PROBLEM},
    (
        Turn(
            1,
            timedelta(minutes=1),
            absence("Thank you for your email. I am out of the office and will be back on Monday 16 March 2026."),
        ),
        Turn(
            2,
            timedelta(hours=4),
            reply(
                "Dear Sam,",
                "Thank you for asking, but I would rather not. Our company policy does not allow it.",
            ),
        ),
    ),
    Ending(("ask/who_else", "ask/reminder"), {"ask": "declined", "advocacy": ""}),
    "was left in peace while away, said no, and was not asked again",
    moment=("nps", {"score": "10", "problem": PROBLEM}),
)
NOOR = Role(
    Client("Noor Haddad", "noor@tulipfreight.example", ("Noor Haddad", "Tulip Freight")),
    "Tulip Freight",
    "never answers",
    "value_review",
    _review("2026-03-06 10:00", "Quotes were a day late", "Quotes within the hour: now 40 minutes"),
    (),
    Ending(("value_review/document", "value_review/confirm", "value_review/reminder"), {"value_review": "no_answer"}),
    "got one reminder, then a call from Sam instead of a third email, and was never asked",
)
PETRA = Role(
    Client("Petra Novak", "petra@oldmill.example", ("Petra Novak", "Old Mill")),
    "Old Mill",
    "has left: her address does not exist any more",
    "value_review",
    _review("2026-03-09 10:00", "Site reports got lost", "Every report in one place: done in May"),
    (Turn(1, timedelta(minutes=2), None),),
    Ending(("value_review/document",), {"value_review": "bounced"}, suppressed="bounced"),
    "one email came back, and nothing was sent there again",
)
PROSPECT = Role(
    BARRY,
    "Northwind",
    "is not a client yet: Dana will introduce him",
    "",
    {},
    # Their first email is Dana's introduction.
    (Turn(2, timedelta(hours=3), reply("Hi Sam,", "Gladly. Would Thursday at ten suit you?")),),
    Ending(("introduction_answer/answer",), {"introduction_answer": "met"}),
    "was answered 12 minutes after the introduction, met Sam, and is a client now",
)
CAST = (DANA, ULRICH, NOOR, PETRA, PROSPECT)
REP_TURNS = (
    RepTurn(
        "thank_you/answer_prospect",
        timedelta(minutes=12),
        "approve",
        "the answer to Barry was ready: Sam reads it and lets it go, within 30 minutes",
    ),
    RepTurn("thank_you/progress", timedelta(hours=2), "met", "from this, Dana is told how it went"),
    RepTurn("thank_you/progress", timedelta(days=7), "won", "a client thanks to her: she hears of it at once"),
)


# --- in words --------------------------------------------------------------------------------------------------------

#: Why an email goes out at that moment, by sequence/step.
WHY: Mapping[str, str] = {
    "value_review/document": "ahead of the review call",
    "value_review/confirm": "after the call: is the client happy?",
    "value_review/reminder": "no answer in 4 business days: once more",
    "ask/who_else": "the value is confirmed: the question is earned",
    "ask/reminder": "no answer in a week, not counting his absence",
    "ask/anyone_else": "thanks for the name",
    "intro_template/introduction": "already written, one click sends it",
    "follow_up_1_1_1/day_1": "1 day without the introduction",
    "follow_up_1_1_1/week_1": "1 week without it",
    "thank_you/thanks": "the thank-you, at once",
    "thank_you/update": "two weeks later, how it went",
    "introduction_answer/answer": "read by Sam first; Dana is thanked, and in Bcc",
    "referral_update/news": "the loop back to whoever referred him",
}

#: What an answer means and what follows, by sequence, event and what became of the sequence.
DECIDED: Mapping[tuple[str, str, str], str] = {
    ("value_review", "confirmed", "confirmed"): "a clear yes. “Who else?” may be asked",
    ("value_review", "bounced", "bounced"): "a dead address, never to be used again",
    ("ask", "out_of_office", ""): "an absence is no answer: on hold till then",
    ("ask", "named", ""): "a name. The introduction to Barry is prepared",
    ("ask", "declined", "named"): "that was everyone. The introduction goes on",
    ("ask", "declined", "declined"): "a no ends it. No second push",
    ("follow_up_1_1_1", "introduced", "introduced"): "introduced! No more nudging",
    ("introduction_answer", "reply", ""): "a question is for a person: Sam takes it from here",
}

#: What each sequence is for.
PURPOSE: Mapping[str, str] = {
    "value_review": "earns the right to ask: was the promise kept?",
    "ask": "one question: who else has this problem?",
    "intro_template": "hands over an introduction that takes one click",
    "follow_up_1_1_1": "nudges after 1 day, 1 week, 1 month, until it is made",
    "thank_you": "thanks at once, and tells how it went",
    "introduction_answer": "answers whoever was introduced, within minutes",
    "referral_update": "tells the referrer what became of it, good or bad",
}


@dataclass(frozen=True)
class Script:
    """Everything that is played: from `begin` to `end` (UTC)."""

    cast: tuple[Role, ...] = CAST
    rep_turns: tuple[RepTurn, ...] = REP_TURNS
    begin: datetime = BEGIN
    end: datetime = END
    others: tuple[Client, ...] = field(default=(BARRY,))
