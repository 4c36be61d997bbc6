"""What a step says at its moment: to whom, in which thread, with which links, and the same in a preview as in what leaves."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from urllib.parse import parse_qs, unquote, urlsplit

import office
from office import BARRY, BARRY_PERSON, DANA, MONDAY, SAM, Office

from engine import enrollments, letters
from engine.core.machine import find
from engine.core.model import Contact, Person
from engine.store import ThreadMail

there = office.one_office
new_office = office.new_office


def test_a_preview_has_the_words_that_leave(there: Office) -> None:
    nudge = there.enroll()
    step = find(there.inst.library.sequences["nudge"], "first")
    assert step
    words = letters.render(there.inst, there.of(nudge), step, there.now)
    (sent,) = there.work()
    assert (sent.subject, sent.text) == (words.subject, words.text)


def test_the_same_moment_writes_the_same_bytes(there: Office) -> None:
    nudge = there.enroll()
    enrollments.advance(there.inst, there.now)
    (row,) = there.rows(nudge)
    one, two = (letters.write(there.inst, there.of(nudge), row, there.now) for _ in range(2))
    assert one == two
    later = letters.write(there.inst, there.of(nudge), row, MONDAY.replace(hour=10))
    assert later.message_id == one.message_id and later.raw != one.raw, (
        "the id is the email's, the date is the moment's"
    )


def test_another_key_gives_other_ids_and_tokens(there: Office) -> None:
    nudge = there.enroll()
    enrollments.advance(there.inst, there.now)
    (row,) = there.rows(nudge)
    other = replace(there.inst, key=b"x" * 32)
    one, two = (letters.write(inst, there.of(nudge), row, there.now) for inst in (there.inst, other))
    assert {one.message_id, one.own_id}.isdisjoint({two.message_id, two.own_id})
    tokens = [letters.unsubscribe_token(inst, there.of(nudge), DANA) for inst in (there.inst, other)]
    assert tokens[0] != tokens[1]


def test_a_token_is_for_one_enrollment_and_one_address(there: Office) -> None:
    nudge, other = there.enroll(DANA, "nudge"), there.enroll(DANA, "other")
    tokens = {letters.unsubscribe_token(there.inst, e, a) for e in (nudge, other) for a in (DANA, BARRY)}
    assert len(tokens) == 4


def test_the_link_to_unsubscribe_goes_to_the_rep_and_holds_the_token(there: Office) -> None:
    nudge = there.enroll()
    url = urlsplit(letters.unsubscribe_link(there.inst, nudge, DANA))
    assert (url.scheme, unquote(url.path)) == ("mailto", SAM)
    assert parse_qs(url.query)["subject"] == [f"unsubscribe {letters.unsubscribe_token(there.inst, nudge, DANA)}"]
    (sent,) = there.work()
    assert letters.unsubscribe_link(there.inst, nudge, DANA).encode() in sent.raw.replace(b"\r\n ", b"")


def test_an_email_to_the_rep_has_nothing_to_unsubscribe_from(new_office: Callable[..., Office]) -> None:
    notes = "name: N\nkind: touch\nto: client\nsteps:\n  - {id: note, email: note, to: rep}\n"
    there = new_office(books=office.library({"notes": notes}))
    there.enroll(DANA, "notes")
    (sent,) = there.work(reads=False)
    assert sent.recipient == SAM and b"List-Unsubscribe" not in sent.raw


def test_a_step_goes_to_the_role_that_it_names(there: Office) -> None:
    both = there.enroll(BARRY, "both", prospect=BARRY_PERSON, client=DANA)
    there.work()
    assert [(m.step, m.recipient) for m in there.rows(both)] == [("first", BARRY), ("told", DANA)]


def test_the_introduction_is_one_click_to_the_prospect_with_the_rep_in_copy(new_office: Callable[..., Office]) -> None:
    words = {
        "introduction": '---\nsubject: "{{ prospect.name }}, meet {{ rep.name }} & co"\n---\nÜber 100 % zufrieden.\n'
    }
    there = new_office(books=office.library({}, words))
    intro = there.enroll(DANA, "intro", prospect=BARRY_PERSON)
    scene = letters.scene(there.inst, intro, there.now)
    url = urlsplit(scene["intro_link"])
    parts = parse_qs(url.query)
    assert unquote(url.path) == BARRY
    assert (parts["cc"], parts["subject"]) == ([SAM], ["Barry Jones, meet Sam Carter & co"])
    assert parts["body"][0].strip() == "Über 100 % zufrieden."


def test_what_a_template_may_see(there: Office) -> None:
    intro = there.enroll(DANA, "intro", prospect=BARRY_PERSON)
    scene = letters.scene(there.inst, intro, there.now, {"note": "extra"})
    assert scene["client"]["first_name"] == "Dana" and scene["rep"]["email"] == SAM
    assert scene["company"] == {"name": "Acme", "domain": "acme.test"}
    assert scene["prospect"]["email"] == BARRY and scene["note"] == "extra"
    assert scene["today"] == MONDAY.date() and scene["enrollment"]["step"] == "introduction"


def test_an_own_field_never_hides_who_somebody_is() -> None:
    contact = Contact("c", DANA, name="Dana Whitfield", fields={"email": "evil@x.test", "contract_date": "2026-05-01"})
    values = letters.contact_values(contact)
    assert values and (values["email"], values["contract_date"]) == (DANA, "2026-05-01")


def mail(id: str, own: str = "", refs: str = "") -> ThreadMail:
    return ThreadMail(MONDAY, id, "dana", f"<{id}@demo.test>", own and f"<{own}@demo.test>", "Hello", refs)


def test_references_name_the_thread_oldest_first_each_once_and_our_own_id_before_the_first() -> None:
    thread = [
        mail("one", "own1"),
        mail("two", "own2"),
        mail("answer", refs="<own1@demo.test> <one@demo.test>"),
        mail("three", "own3"),
    ]
    ids = [i.strip("<>").partition("@")[0] for i in letters.references(thread)]
    assert ids == ["own1", "one", "two", "answer", "three"]
    assert letters.references([]) == ()


def test_references_of_a_thread_that_the_client_began_begin_with_theirs() -> None:
    thread = [mail("theirs", refs="<before@acme.test>"), mail("ours", "own")]
    assert letters.references(thread) == ("<before@acme.test>", "<theirs@demo.test>", "<ours@demo.test>")


def test_a_variant_is_by_the_contact_and_the_step() -> None:
    from engine.core.sequence import Step

    step = Step("first", variants={"a": "one", "b": "two"})
    chosen = [letters.template_of(step, f"contact {n}") for n in range(200)]
    assert 70 < chosen.count("one") < 130
    assert chosen == [letters.template_of(step, f"contact {n}") for n in range(200)]
    other = [letters.template_of(replace(step, id="second"), f"contact {n}") for n in range(200)]
    assert other != chosen, "who gets one variant of a step does not get that of all steps"


def test_a_person_known_by_name_alone_is_nobody_to_write_to(there: Office) -> None:
    intro = there.enroll(DANA, "intro", prospect="Barry Jones, Northwind")
    sequence = there.inst.library.sequences["outreach"]
    outreach = replace(intro, sequence="outreach")
    step = sequence.steps[0]
    found = letters.recipient_of(there.inst, outreach, sequence, step)
    assert found is None or found.email != ""
    assert Person(**intro.variables["prospect"]).email == ""
