"""Referral records: from every source, each once, with what proves every step, the notes and the answers; and how they are shown."""

from __future__ import annotations

import csv
import io
import json
import xml.etree.ElementTree as ElementTree
from datetime import timedelta
from pathlib import Path
from typing import Any

import office
import pytest
from office import BARRY, BARRY_PERSON, DANA, SAM, Office
from test_cli import REP, Whoelse, inst, project, whoelse  # noqa: F401

from engine import inbox
from engine.core.model import Person, State
from engine.installation import Installation
from engine.privacy import export, forget
from engine.triggers import fire_waiting

there = office.one_office
NAMES_BARRY = "Talk to Barry Jones at North Ltd, barry@north.test. He has the same problem."


def asked(there: Office) -> Any:
    there.confirmed()
    ask = there.enroll(DANA, "ask")
    there.work()
    there.later(hours=1)
    return there.rows(ask)[-1]


def log(there: Office) -> list[tuple[str, str]]:
    (referral,) = there.store.referrals()
    return [(line.what, proof(there, line.message)) for line in there.store.referral_lines(referral.id)]


def proof(there: Office, id: str) -> str:
    if heard := there.store.inbound_message(id):
        return heard.sender
    return "ours" if there.store.outbox_message(id) else ""


def introduces(there: Office, to: str = f"Barry Jones <{BARRY}>") -> None:
    there.hear("I would like you two to meet.", to=None, subject="An introduction", To=to, Cc=SAM)


# --- the record ------------------------------------------------------------------------------------------------------


def test_every_step_has_the_message_that_proves_it_or_is_the_rep_s_word(there: Office) -> None:
    there.hear(NAMES_BARRY, to=asked(there))
    there.later(hours=1)
    introduces(there)
    there.later(hours=1)
    inbox.mark(there.inst, BARRY, "met", {"note": "a good hour"}, there.now)
    inbox.mark(there.inst, BARRY, "won", {}, there.now)
    assert log(there) == [("named", DANA), ("introduced", DANA), ("met", ""), ("won", "")]
    (referral,) = there.store.referrals()
    assert (referral.source, referral.state) == ("reply", "won")
    assert there.store.referral_lines(referral.id)[2].text == "a good hour"


@pytest.mark.parametrize("source", ["reply", "introduction", "rep"])
def test_it_says_how_it_was_learned(there: Office, source: str) -> None:
    if source == "reply":
        there.hear(NAMES_BARRY, to=asked(there))
    elif source == "introduction":
        asked(there)
        introduces(there)
    else:
        there.confirmed()
        inbox.mark(there.inst, DANA, "named", {"prospect": f"Barry Jones <{BARRY}>"}, there.now)
    (referral,) = there.store.referrals()
    assert referral.source == source and bool(referral.proof) == (source != "rep")


def test_our_own_first_email_proves_the_contact_and_starts_nothing_as_an_answer(there: Office) -> None:
    there.confirmed()
    inbox.mark(there.inst, DANA, "named", {"prospect": f"Barry Jones <{BARRY}>"}, there.now)
    there.enroll(BARRY, "both", prospect=BARRY_PERSON, client=DANA)
    there.work()
    assert log(there) == [("named", ""), ("contacted", "ours")]
    assert all(moment.message == "" for moment in there.store.waiting_moments(9) if moment.name == "contacted")


def test_who_was_named_without_an_address_is_the_same_when_introduced_with_one(there: Office) -> None:
    there.confirmed()
    for given in ("Barry Jones, North Ltd", f"Barry Jones <{BARRY}>", f"BARRY JONES <{BARRY}>, North Ltd"):
        inbox.mark(there.inst, DANA, "named", {"prospect": given}, there.now)
    (referral,) = there.store.referrals()
    assert (referral.prospect.email, referral.prospect.company) == (BARRY, "North Ltd")
    assert there.store.referrals_to(Person(email=BARRY)) == [referral]
    inbox.mark(there.inst, DANA, "named", {"prospect": "Barry Jones, Another Ltd"}, there.now)
    assert len(there.store.referrals()) == 2, "at another company it is another Barry"


def test_a_prospect_who_writes_first_is_matched_and_the_client_is_nudged_no_more(there: Office) -> None:
    there.hear(NAMES_BARRY, to=asked(there))
    there.run(days=1)
    intro = there.of("intro")
    assert there.state(intro) in (State.ACTIVE, State.WAITING)
    there.hear("Dana said that I should write to you.", sender=BARRY)
    assert log(there)[-1] == ("answered", BARRY)
    assert there.state("intro") is State.PAUSED
    told = [line.text for line in there.store.story(there.of("intro").client)]
    assert any("Barry Jones, whom Dana Whitfield referred, has written" in line for line in told)
    assert any("Dana Whitfield referred them" in task.title for task in there.store.open_tasks())
    sent = len(there.sent())
    there.run(days=30)
    assert len([m for m in there.sent("intro") if m]) == len(there.sent("intro")) and len(there.sent()) == sent
    inbox.settle(there.inst, DANA, "introduced", {"prospect": f"Barry Jones <{BARRY}>"}, there.now)
    assert there.store.referrals()[0].introduced_at == there.now


def test_what_the_client_says_about_a_referral_is_kept_on_it_for_as_long_as_it_is(there: Office) -> None:
    there.confirmed()
    inbox.mark(there.inst, DANA, "introduced", {"prospect": f"Barry Jones <{BARRY}>"}, there.now)
    fire_waiting(there.inst, there.now)
    there.enroll(DANA, "thanks", prospect=BARRY_PERSON)
    (mail,) = there.work()
    there.later(hours=1)
    there.hear("Because you kept your word. Call him in the morning.", to=mail)
    (referral,) = there.store.referrals()
    there.store.drop_bodies(there.now + timedelta(days=1))
    last = there.store.referral_lines(referral.id)[-1]
    assert last.what == "said" and "Call him in the morning" in last.text


def test_forgetting_either_of_them_leaves_no_word_of_it(there: Office) -> None:
    there.hear(NAMES_BARRY, to=asked(there))
    there.hear("Dana said that I should write to you.", sender=BARRY)
    (given,) = export(there.store, DANA)["referrals_by_them"]
    assert [line["what"] for line in given["log"]] == ["named", "answered"]
    forget(there.inst, BARRY, there.now)
    (referral,) = there.store.referrals()
    assert {(line.text, line.message) for line in there.store.referral_lines(referral.id)} == {("", "")}


# --- how it is shown -------------------------------------------------------------------------------------------------


@pytest.fixture
def three(whoelse: Whoelse, inst: Installation) -> Whoelse:  # noqa: F811
    """Dana named Barry, who was met and named Sue; Lee introduced Max."""
    for who, word, prospect in (
        ("dana@acme.example", "named", "Barry Jones <barry@north.example>, North"),
        ("barry@north.example", "named", "Sue Okoro <sue@harbour.example>, Harbour"),
        ("lee@kiln.example", "introduced", "Max Roth <max@mill.example>, Mill"),
    ):
        ran = whoelse("mark", who, word, "-v", f"prospect={prospect}", "--name", who.split("@")[0].title() + " Person")
        assert ran.code == 0, ran.err
    assert whoelse("mark", "barry@north.example", "met", "-v", "note=two hours").code == 0
    return whoelse


def test_the_log_is_filtered_by_state_source_person_and_day(three: Whoelse) -> None:
    def names(*words: str) -> list[str]:
        return [row["prospect"]["name"] for row in json.loads(three("referrals", *words, "--json").out)]

    assert sorted(names()) == ["Barry Jones", "Max Roth", "Sue Okoro"]
    assert names("--state", "met") == ["Barry Jones"] and names("--state", "introduced") == ["Max Roth"]
    assert len(names("--state", "open")) == 3 and names("--state", "won") == []
    assert len(names("--source", "rep")) == 3 and names("--source", "reply") == []
    assert names("--since", "2100-01-01") == [] and len(names("--until", "2100-01-01", "--rep", REP)) == 3
    assert names("barry@north.example") == ["Barry Jones", "Sue Okoro"], "whom he was named by, and whom he named"
    rows = list(csv.DictReader(io.StringIO(three("referrals", "--csv").out)))
    assert {row["client"] for row in rows} == {"dana@acme.example", "barry@north.example", "lee@kiln.example"}
    assert three("referrals", "nobody@x.example").code == 1
    assert three("referrals", "--state", "won").out == "None.\n"


def test_one_referral_s_story_has_its_steps_proofs_and_notes(three: Whoelse) -> None:
    assert three("referrals", "max@mill.example", "--note", "knows Lee from school").code == 0
    told = three("referrals", "max@mill.example").out
    assert "Max Roth, Mill <max@mill.example>" in told and "learned from the rep's word" in told
    assert "introduced (the rep's word)" in told and "note: knows Lee from school" in told
    assert "met: two hours" in three("referrals", "dana@acme.example").out
    (found,) = json.loads(three("referrals", "max@mill.example", "--json").out)
    assert [line["what"] for line in found["log"]] == ["introduced", "note"]


def test_the_graph_is_told_in_text_and_drawn(three: Whoelse, tmp_path: Path) -> None:
    lines = three("referrals", "--graph").out.splitlines()
    assert lines[0].startswith("Dana Person") and lines[1].startswith("└─ Barry Jones, North: met")
    assert lines[2].startswith("   └─ Sue Okoro, Harbour: named")
    assert lines[4] == "└─ Max Roth, Mill: introduced"
    assert three("referrals", "--svg", str(tmp_path / "g.svg")).code == 0
    drawn = ElementTree.parse(tmp_path / "g.svg").getroot()
    assert "Sue Okoro, Harbour" in [text.text for text in drawn.iter("{http://www.w3.org/2000/svg}text")]
    assert three("referrals", "--svg", str(tmp_path / "no" / "g.svg")).code == 1
