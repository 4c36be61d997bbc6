"""What came of it: counted in clients, after the email and not before it, and nothing claimed that the numbers do not carry."""

from __future__ import annotations

import csv
import io
import json
import re
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import office
import pytest
from office import BARRY, BARRY_PERSON, DANA, KIM, LEE, MONDAY, SAM, Office
from test_cli import MONDAY as BERLIN_MONDAY
from test_cli import REP, Whoelse, enrolled, inst, project, sends, whoelse  # noqa: F401

from engine import inbox
from engine.core.model import Person, Referral
from engine.core.proportion import Share, claim, difference
from engine.installation import Installation
from engine.project import edited_library
from engine.reports import STAGES, Funnel, comparisons, coverage, funnel, past, period_of, speeds

there = office.one_office
new_office = office.new_office
YES = "Yes, confirmed. You kept your promise."
NAMES_BARRY = "Talk to Barry Jones at North Ltd, barry@north.test. He has the same problem."


def counts(found: list[Funnel]) -> list[tuple[tuple[str, ...], tuple[int, ...]]]:
    return [(tuple(f.group.values()), tuple(f.counts[stage] for stage in STAGES)) for f in found]


def asked(there: Office, email: str = DANA, **values: Any) -> Any:
    """A client who got the ask."""
    there.confirmed(email)
    ask = there.enroll(email, "ask", **values)
    there.work()
    return there.rows(ask)[-1]


# --- the funnel ------------------------------------------------------------------------------------------------------


def test_a_client_is_followed_from_the_asking_to_the_won_prospect(there: Office) -> None:
    mail = asked(there)
    assert counts(funnel(past(there.inst))) == [((), (1, 0, 0, 0, 0, 0))]
    there.later(hours=1)
    there.hear(NAMES_BARRY, to=mail)
    assert counts(funnel(past(there.inst), ["sequence"]))[0] == (("ask",), (1, 0, 1, 0, 0, 0))
    there.later(hours=1)
    inbox.mark(there.inst, DANA, "introduced", {"prospect": "Barry Jones <barry@north.test>"}, there.now)
    inbox.mark(there.inst, BARRY, "met", {}, there.now)
    inbox.mark(there.inst, BARRY, "won", {}, there.now)
    assert counts(funnel(past(there.inst), ["sequence"]))[0] == (("ask",), (1, 0, 1, 1, 1, 1))


def test_a_confirmation_counts_whether_it_was_written_or_told(there: Office) -> None:
    nudge = there.enroll(DANA)
    other = there.enroll("max@other.test")
    there.work()
    there.later(hours=1)
    there.hear(YES, to=there.rows(nudge)[0])
    assert there.of(nudge).outcome == "confirmed"
    inbox.mark(there.inst, "max@other.test", "confirmed", {}, there.now)
    assert there.of(other).outcome == "confirmed"
    assert counts(funnel(past(there.inst))) == [((), (2, 2, 0, 0, 0, 0))]


def test_what_came_before_an_email_did_not_come_of_it(there: Office) -> None:
    """Who named somebody after the first email and got a second counts for the first step alone."""
    first = asked(there)
    there.later(hours=1)
    there.hear(NAMES_BARRY, to=first)
    there.run(days=1)
    steps = dict(counts(funnel(past(there.inst), ["sequence", "step"])))
    assert steps["ask", "who_else"] == (1, 0, 1, 0, 0, 0)
    assert steps["ask", "anyone"] == (1, 0, 0, 0, 0, 0)


def test_a_client_counts_once_however_many_emails_and_names(there: Office) -> None:
    nudge = there.enroll(DANA)
    there.run(days=10)
    assert len(there.sent(nudge)) == 3
    for name in ("A", "B"):
        there.store.add_referral(
            Referral("", there.of(nudge).client, SAM, Person(name, f"{name}@x.test"), "named", there.now)
        )
    assert counts(funnel(past(there.inst), ["sequence"])) == [(("nudge",), (1, 0, 1, 0, 0, 0))]


def test_groups_are_by_rep_step_and_period_and_only_the_path_counts_in_the_total(there: Office) -> None:
    asked(there)
    there.now = MONDAY + timedelta(days=35)
    there.enroll("kims@client.test", "nudge", rep=KIM)
    there.work()
    found = past(there.inst)
    assert counts(funnel(found, ["rep"])) == [((KIM,), (1, 0, 0, 0, 0, 0)), ((SAM,), (1, 0, 0, 0, 0, 0))]
    assert [f.group for f in funnel(found, ["rep"], total=True)] == [{"rep": SAM}], "a nudge leads to no introduction"
    assert [f.group["period"] for f in funnel(found, ["period"])] == ["2026-03", "2026-04"]
    assert [f.group["rep"] for f in funnel(past(there.inst, rep=KIM), ["rep"])] == [KIM]
    march = past(there.inst, since=date(2026, 3, 1), until=date(2026, 3, 2))
    assert counts(funnel(march)) == [((), (1, 0, 0, 0, 0, 0))]
    assert funnel(past(there.inst, until=date(2026, 3, 1))) == []


def test_what_goes_on_in_the_next_month_counts_in_the_month_in_which_it_began(there: Office) -> None:
    there.now = MONDAY.replace(day=30)
    there.confirmed()
    ask = there.enroll(DANA, "ask")
    assert [row.step for row in there.run(days=8)] == ["who_else", "reminder"]
    there.hear("You should talk to Barry Jones at Northwind, barry@north.test.", to=there.rows(ask)[-1])
    there.work()
    found = past(there.inst)
    assert counts(funnel(found, ["period"])) == [(("2026-03",), (1, 0, 1, 0, 0, 0))]
    assert counts(funnel(found)) == [((), (1, 0, 1, 0, 0, 0))]


def test_emails_to_prospects_ask_nobody(there: Office) -> None:
    there.enroll(BARRY, "both", prospect=BARRY_PERSON, client=DANA)
    there.run(days=10)
    assert [f.group["step"] for f in funnel(past(there.inst), ["step"])] == ["told", "told_again"]


@pytest.mark.parametrize(
    ("period", "name"), [("week", "2026-W01"), ("month", "2025-12"), ("quarter", "2025-Q4"), ("year", "2025")]
)
def test_a_period_is_that_of_the_company_s_zone(period: str, name: str) -> None:
    late = datetime(2025, 12, 31, 12, tzinfo=UTC)
    assert period_of(late, period, ZoneInfo("Europe/Berlin")) == name
    new_year = datetime(2025, 12, 31, 23, 30, tzinfo=UTC)
    assert period_of(new_year, "year", ZoneInfo("Europe/Berlin")) == "2026"


# --- variants --------------------------------------------------------------------------------------------------------


def test_the_arms_are_compared_by_who_answered(there: Office) -> None:
    people = [f"a{n}@b{n}.test" for n in range(40)]
    for email in people:
        there.enroll(email, "split")
    mails = there.work()
    there.later(hours=1)
    for mail in mails:
        if mail.template == "one":
            there.hear("What is this about?", sender=mail.recipient, to=mail)
    (found,) = comparisons(past(there.inst))
    one, two = found.arms["a"], found.arms["b"]
    assert (found.sequence, found.step, found.goal) == ("split", "first", "answered")
    assert one.of + two.of == 40 and min(one.of, two.of) > 10
    assert (one.count, two.count) == (one.of, 0)
    assert (found.claim.better, found.claim.worse) == ("a", "b")


def test_a_few_answers_declare_no_winner(there: Office) -> None:
    for n in range(8):
        there.enroll(f"a{n}@b{n}.test", "split")
    mails = there.work()
    there.later(hours=1)
    there.hear("What is this about?", sender=mails[0].recipient, to=mails[0])
    (found,) = comparisons(past(there.inst))
    assert sum(share.count for share in found.arms.values()) == 1
    assert found.claim.better == "" and found.claim.p > 0.05


#: Wilson (1927) as in Newcombe (1998), table I; Fisher's exact test as any statistics program computes it.
@pytest.mark.parametrize(
    ("count", "of", "low", "high"),
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718), (29, 29, 0.883, 1.0)],
)  # fmt: skip
def test_wilson_s_interval_is_the_published_one(count: int, of: int, low: float, high: float) -> None:
    found = Share(count, of).interval
    assert (round(found[0], 4), round(found[1], 4)) == (low, high)


@pytest.mark.parametrize(
    ("one", "other", "p"),
    [
        (Share(3, 4), Share(1, 4), 0.485714),  # the lady tasting tea
        (Share(1, 12), Share(9, 12), 0.002759),
        (Share(10, 100), Share(25, 100), 0.0085036),
        (Share(5, 50), Share(5, 50), 1.0),
        (Share(0, 0), Share(3, 5), 1.0),
    ],
)
def test_fisher_s_test_is_exact(one: Share, other: Share, p: float) -> None:
    assert difference(one, other) == difference(other, one) == pytest.approx(p, rel=0.001)


def test_a_difference_by_chance_is_claimed_seldom() -> None:
    """Of all outcomes of two arms that are alike, weighted by their chance, at most one in twenty is called a difference."""
    from math import comb

    size, rate = 30, 0.2
    chance = [comb(size, k) * rate**k * (1 - rate) ** (size - k) for k in range(size + 1)]
    wrong = sum(
        chance[a] * chance[b]
        for a in range(size + 1)
        for b in range(size + 1)
        if claim({"a": Share(a, size), "b": Share(b, size)}).better
    )
    assert 0 < wrong <= 0.05


def test_many_arms_need_a_clearer_difference() -> None:
    two = {"a": Share(10, 100), "b": Share(25, 100)}
    assert claim(two).better == "b"
    assert claim({**two, "c": Share(17, 100), "d": Share(18, 100)}).better == ""
    assert claim({"a": Share(1, 2)}).better == claim({}).better == ""


def test_thousands_of_people_are_compared_as_well() -> None:
    assert claim({"a": Share(5_000, 50_000), "b": Share(5_400, 50_000)}).better == "b"


# --- coverage --------------------------------------------------------------------------------------------------------


def test_who_was_never_asked_is_listed_with_the_rule_that_stands_against_it(there: Office) -> None:
    asked(there, DANA)
    there.confirmed(LEE)  # of the same company
    for email in ("free@one.test", "said@two.test", "gone@three.test", "new@four.test"):
        there.enroll(email, "nudge")
        there.store.withdraw(there.of("nudge").id, "not in this test")
    for email in ("free@one.test", "gone@three.test"):
        there.confirmed(email)
    there.store.suppress("gone@three.test", "unsubscribed", there.now)
    found = coverage(there.inst, there.now)
    assert (found.clients, found.asked) == (6, 1)
    assert {u.client.email: u.why for u in found.unasked} == {
        LEE: "asked", "free@one.test": "no moment", "said@two.test": "confirmed", "gone@three.test": "suppressed",
        "new@four.test": "confirmed",
    }  # fmt: skip
    assert "was asked on 2026-03-02" in next(u.reason for u in found.unasked if u.client.email == LEE)
    assert coverage(there.inst, there.now, rep=KIM).clients == 0


# --- speed -----------------------------------------------------------------------------------------------------------


def test_the_speed_to_the_prospect_counts_only_whose_time_is_over(there: Office) -> None:
    there.confirmed()
    client = there.store.contact_at(DANA)
    assert client
    minutes = lambda n: MONDAY + timedelta(minutes=n)
    for name, contacted in (
        ("at once", minutes(10)),
        ("late", minutes(600)),
        ("cold", minutes(60 * 50)),
        ("never", None),
    ):
        there.store.add_referral(
            Referral("", client.id, SAM, Person(name, f"{name}@x.test"), "named", MONDAY, introduced_at=MONDAY,
                     contacted_at=MONDAY - timedelta(days=3), answered_at=contacted)
        )  # fmt: skip
    (found,) = speeds(there.inst, MONDAY + timedelta(days=3))
    assert (found.soon, found.warm) == (Share(1, 4), Share(2, 4))
    assert [r.prospect.name for r in found.waiting] == ["never"]
    (early,) = speeds(there.inst, MONDAY + timedelta(minutes=20))
    assert (early.soon.of, early.warm.of) == (3, 3), "whose 30 minutes are not over has missed nothing yet"
    assert speeds(there.inst, there.now, rep=KIM) == speeds(there.inst, there.now, since=date(2026, 3, 3)) == []


def test_who_was_met_was_contacted(there: Office) -> None:
    there.confirmed()
    client = there.store.contact_at(DANA)
    assert client
    met = Referral("", client.id, SAM, Person("Barry", BARRY), "met", MONDAY, introduced_at=MONDAY)
    there.store.add_referral(replace(met, met_at=MONDAY + timedelta(minutes=5)))
    (found,) = speeds(there.inst, MONDAY + timedelta(days=3))
    assert found.soon == Share(1, 1) and found.waiting == ()


# --- the command -----------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("project")
def test_report_works_with_nothing_in_it(whoelse: Whoelse) -> None:  # noqa: F811
    ran = whoelse("report")
    assert ran.code == 0 and "No client has got an email yet." in ran.out and "0 clients" in ran.out
    assert json.loads(whoelse("report", "--json").out) == {
        "funnel": [], "emails": [], "variants": [], "coverage": {"clients": 0, "asked": 0, "never_asked": []},
        "referrers": [], "customers": [], "speed": [],
    }  # fmt: skip


def test_report_shows_plain_bars_and_says_the_same_as_csv_and_json(whoelse: Whoelse, inst: Installation) -> None:  # noqa: F811
    enrolled(inst)
    sends(inst, BERLIN_MONDAY + timedelta(days=1))
    assert whoelse("mark", "dana@acme.example", "introduced").code == 0
    ran = whoelse("report")
    assert re.search(r"asked +1 +100% +#{24}\n", ran.out) and re.search(r"introduced +1 +100% +#{24}\n", ran.out)
    assert re.search(r"met +0 +0%\n", ran.out)
    assert "Barry Jones still waits for" in ran.out
    assert re.search(rf"{REP} +1 +0 +1 +1 +0 +0", ran.out)
    (row,) = csv.DictReader(io.StringIO(whoelse("report", "--csv").out))
    (told,) = json.loads(whoelse("report", "funnel", "--json").out)["funnel"]
    assert row == {name: str(value) for name, value in told.items()}
    assert (row["rep"], row["sequence"], row["step"], row["period"], row["introduced"]) == (
        REP, "follow_up_1_1_1", "day_1", "2026-03", "1",
    )  # fmt: skip
    assert (
        whoelse("report", "--by", "period", "--period", "quarter", "--csv").out.splitlines()[1].startswith("2026-Q1,1")
    )


def test_a_name_that_a_spreadsheet_would_run_is_guarded(whoelse: Whoelse, inst: Installation) -> None:  # noqa: F811
    ran = whoelse(
        "enroll", "dana@acme.example", "follow_up_1_1_1", "--name", "=HYPERLINK(1)", "--company", "@x",
        "-v", "prospect=Barry Jones <b@n.example>",
    )  # fmt: skip
    assert ran.code == 0, ran.err
    (row,) = csv.DictReader(io.StringIO(whoelse("report", "coverage", "--csv").out))
    assert (row["name"], row["company"], row["why"]) == ("'=HYPERLINK(1)", "'@x", "confirmed")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("everything",), "none of funnel, emails"),
        (("--by", "color"), "none of rep, sequence"),
        (("--period", "day"), "none of week, month"),
        (("--since", "01.02.2026"), "write it like 2026-03-02"),
    ],
)
@pytest.mark.usefixtures("project")
def test_what_report_does_not_know_is_said(whoelse: Whoelse, words: tuple[str, ...], said: str) -> None:  # noqa: F811
    ran = whoelse("report", *words)
    assert ran.code == 2 and said in " ".join(ran.err.split())


def test_variants_are_told_with_their_numbers_and_no_winner(whoelse: Whoelse, inst: Installation) -> None:  # noqa: F811
    file = inst.config.folder / "sequences/follow_up_1_1_1.yaml"
    text = file.read_text()
    old = "email: follow_up_1_1_1/day_1"
    assert old in text
    file.write_text(text.replace(old, "variants: {a: follow_up_1_1_1/day_1, b: follow_up_1_1_1/week_1}"))
    assert whoelse("apply").code in (0, 1)
    fresh = replace(inst, library=edited_library(inst.config))
    enrolled(fresh)
    sends(fresh, BERLIN_MONDAY + timedelta(days=1))
    ran = whoelse("report", "variants")
    assert "follow_up_1_1_1: day_1 (introduced)" in ran.out and "0 of 1" in ran.out
    assert "no difference can be claimed" in ran.out
    (told,) = json.loads(whoelse("report", "variants", "--json").out)["variants"]
    assert told["better"] is None and told["arms"][0]["of"] == 1
