"""What is previewed is what is sent, byte by byte and part by part; a test mail goes to one address and can be taken for nothing."""

from __future__ import annotations

import email
import re
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from email.message import EmailMessage
from email.policy import default
from pathlib import Path

import office
import pytest
import servers
from conftest import REPS
from office import BARRY, BARRY_PERSON, DANA, SAM, Office
from test_cli import Whoelse, inst, project, whoelse  # noqa: F401

from engine import enrollments, outbox
from engine.core.happening import Stopped
from engine.core.model import Enrollment, OutboxMessage
from engine.installation import Installation
from engine.library import parse, read_sources, shipped_folder
from engine.preview import Previewed, ahead, letters_of, test_mail
from engine.simulate import sample_wish

new_office = office.new_office
there = office.one_office
make_test_mail = test_mail
del test_mail  # pytest would take it for one


def parsed(raw: bytes) -> EmailMessage:
    found = email.message_from_bytes(raw, policy=default)
    assert isinstance(found, EmailMessage)
    return found


def parts(raw: bytes) -> list[tuple[str, str | None, bytes]]:
    """Every leaf of a message: its type, its file name, its content."""
    leaves = [part for part in parsed(raw).walk() if not part.is_multipart()]
    return [(p.get_content_type(), p.get_filename(), bytes(p.get_payload(decode=True) or b"")) for p in leaves]


def sent_and_previewed(there: Office, entered: Enrollment) -> Iterator[tuple[OutboxMessage, Previewed]]:
    """Lets everything leave at its time, and looks at each email at the moment before it does."""
    contact = there.store.contact(entered.contact)
    assert contact
    while (due := there.store.next_due()) is not None and due < there.now + timedelta(days=200):
        there.now = max(there.now, due)
        enrollments.advance(there.inst, there.now)
        for draft in outbox.drafts(there.inst):
            outbox.approve(there.inst, draft, there.now)
        letters, _ = letters_of(there.inst, entered.sequence, contact.email, "", {}, SAM, there.now)
        looked = {letter.step: letter for letter in letters}
        gone = there.work()
        yield from ((message, looked[message.step]) for message in gone if message.enrollment == entered.id)
        if not gone and there.store.next_due() == due:
            there.now += timedelta(minutes=1)


@pytest.mark.parametrize("sequence", ["nudge", "apart", "split", "both", "outreach"])
def test_what_is_previewed_is_what_is_sent_byte_by_byte(there: Office, sequence: str) -> None:
    given = {"prospect": BARRY_PERSON, "client": DANA} if sequence in ("both", "outreach") else {}
    entered = there.enroll(BARRY if given else DANA, sequence, **given)
    found = list(sent_and_previewed(there, entered))
    assert [message.step for message, _ in found] == there.sent(entered) and found
    for message, previewed in found:
        assert previewed.raw == message.raw
        assert parsed(message.raw)["Subject"] == previewed.subject and parsed(message.raw)["To"] == previewed.to


SHIPPED = ("value_review", "ask", "intro_template", "follow_up_1_1_1", "thank_you", "advocacy", "prospect_outreach")


@pytest.mark.parametrize("sequence", SHIPPED)
def test_every_part_of_what_ships_is_sent_as_it_was_previewed(new_office: Callable[..., Office], sequence: str) -> None:
    books, problems = parse(read_sources(shipped_folder())[0])
    assert not problems
    there = new_office(books=books)
    wish = sample_wish(there.inst, sequence, there.now)
    entered = enrollments.enroll(there.inst, wish, there.now)
    assert isinstance(entered, Enrollment), entered
    found = list(sent_and_previewed(there, entered))
    assert found
    for message, previewed in found:
        assert parts(previewed.raw) == parts(message.raw)
        assert {kind for kind, _, _ in parts(message.raw)} >= {"text/plain", "text/html"}
        for header in ("From", "To", "Subject", "Message-ID", "In-Reply-To", "References", "List-Unsubscribe"):
            assert parsed(previewed.raw)[header] == parsed(message.raw)[header], header


# --- a test mail -----------------------------------------------------------------------------------------------------

ME = "me@demo.test"


def test_what_waits_in_the_outbox_is_still_to_come(there: Office) -> None:
    """Nothing else is due that would wake the clock: the cap alone holds the first email of all."""
    there.enroll(DANA, "nudge")
    there.work()
    there.later(minutes=5)
    other = there.enroll(DANA, "other")
    there.work()
    for enrollment in there.store.all_enrollments():
        if enrollment.id != other.id:
            enrollments.steer(there.inst, DANA, enrollment.sequence, Stopped("stopped_by_rep"), there.now)
    contact = there.store.contact_at(DANA)
    assert contact
    coming = [(m.step, m.note) for m in ahead(there.inst, contact, there.now) if m.action == "email"]
    assert [step for step, _ in coming] == ["first", "second"]
    assert "heard from nudge" in coming[0][1]


def test_a_test_mail_has_the_same_words_and_nothing_that_leads_back(there: Office) -> None:
    entered = there.enroll(DANA, "nudge")
    there.run(days=3)
    (letter,), _ = letters_of(there.inst, "nudge", DANA, "third", {}, SAM, there.now)
    raw = make_test_mail(there.inst, letter, ME, there.now)
    test, real = parsed(raw), parsed(letter.raw)
    assert (test["To"], test["Subject"]) == (ME, f"[Test] {real['Subject']}")
    assert DANA not in raw.decode() and entered.id not in raw.decode()
    assert test["List-Unsubscribe"] is test["In-Reply-To"] is test["References"] is None
    assert test["Message-ID"] != real["Message-ID"]
    assert parts(raw) == parts(letter.raw)


def test_the_unsubscribe_link_in_a_test_mail_unsubscribes_nobody(new_office: Callable[..., Office]) -> None:
    books = office.library(templates={"hello": "---\nsubject: Hi\n---\nHi.\n\n[no more]({{ unsubscribe }})\n"})
    there = new_office(books=books)
    there.enroll(DANA, "nudge")
    (letter,), _ = letters_of(there.inst, "nudge", DANA, "first", {}, SAM, there.now)
    token = re.search(r"unsubscribe%20([0-9a-f]+-[0-9a-f]{20})", letter.text)
    assert token and token[1] in letter.html
    raw = make_test_mail(there.inst, letter, ME, there.now)
    assert not any(token[1].encode() in content for _, _, content in parts(raw))
    assert any(b"unsubscribe%20test" in content for _, _, content in parts(raw))


@pytest.mark.real
def test_send_to_sends_to_that_address_only_and_records_nothing(
    project: Path,  # noqa: F811
    whoelse: Whoelse,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
    dovecot: servers.Dovecot,
    postfix: servers.Postfix,
) -> None:
    rep, me = REPS.pop(), REPS.pop()
    (project / "config.yaml").write_text(
        f"mailboxes:\n  - address: {rep}\n    name: Sam Carter\n    cafile: {dovecot.cafile}\n"
        f"    smtp: {{host: localhost, port: {postfix.submission_port}, security: starttls}}\n"
        f"    imap: {{host: localhost, port: {dovecot.imaps_port}, security: tls}}\n    password: {{env: REP_PASSWORD}}\n"
    )
    monkeypatch.setenv("REP_PASSWORD", dovecot.users[rep])
    words = ("preview", "follow_up_1_1_1", "dana@acme.test", "--send-to", me)
    before = len(dovecot.messages("dana@acme.test"))
    ran = whoelse(*words)
    assert ran.code == 0, ran.err
    assert ran.out.count(f"sent to {me} as a test") == 3
    deadline = time.monotonic() + 30
    while len(dovecot.messages(me)) < 3 and time.monotonic() < deadline:
        time.sleep(0.05)
    assert {str(parsed(raw)["Subject"])[:6] for raw in dovecot.messages(me)} == {"[Test]"}
    assert len(dovecot.messages("dana@acme.test")) == before
    assert whoelse("show", "dana@acme.test").code == 1, "nobody was kept"
    refused = whoelse(*words[:-1], "nobody@demo.test")
    assert refused.code == 1 and "was not sent to nobody@demo.test" in refused.err
    assert whoelse(*words[:-1], "nonsense").code == 2
    monkeypatch.setenv("REP_PASSWORD", "wrong")
    assert "password" in whoelse(*words).err


def test_test_mails_need_an_account(project: Path, whoelse: Whoelse, inst: Installation) -> None:  # noqa: F811
    ran = whoelse("preview", "follow_up_1_1_1", "dana@acme.example", "--send-to", ME)
    assert ran.code == 1 and ran.err
