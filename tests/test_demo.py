"""The demo: its mail servers, its people, and the whole performance with the real daemon. Nothing here waits for a time."""

from __future__ import annotations

import io
import re
import smtplib
import socket
import sys
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from email.message import EmailMessage
from pathlib import Path

import pytest
from imapclient import IMAPClient
from rich.console import Console

from engine.config import load_config
from engine.core.classify import read
from engine.core.compose import Letter, compose, mailto
from engine.core.model import Event, OutboxState, Person, Reader, Reading
from engine.demo import run
from engine.demo.narrator import gist
from engine.demo.people import Client, absence, bounce, introduction, mailto_in, opened, reply, send, words_of
from engine.demo.performance import SCRIPT
from engine.demo.story import BEGIN, CAST, DANA, NOOR, REP, SEQUENCES, WHY, Script, Turn
from engine.demo.verdict import mailbox
from engine.demo.world import HOST, MailWorld
from engine.errors import UserError
from engine.store import open_store

NOON = datetime(2026, 3, 5, 12, 0, tzinfo=UTC)
CLIENT = Client("Dana Reyes", "dana@acme.example", ("Dana Reyes", "Acme Tools"))
LINK = mailto(
    "barry+jobs@northwind.example",
    REP.email,
    "Barry, meet Sam & Söhne",
    "Hi Barry,\n\n100 % worth it: 1 + 1 & more?\nDana",
)


def ask(html: str = "", text: str = "Hi Dana,\n\nDid we keep our promise?\n\nSam") -> EmailMessage:
    """An email of the engine's, as Dana's mail program opens it."""
    page = html or "<p>Did we keep our promise?</p>"
    rep, client = Person(REP.name, REP.email), Person(CLIENT.name, CLIENT.email)
    letter = Letter(
        rep, client, "Our review", text, page, "<step@brightside.example>", NOON, references=("<own@whoelse>",)
    )
    return opened(compose(letter))


def understood(message: EmailMessage | bytes) -> Reading:
    raw = message if isinstance(message, bytes) else message.as_bytes()
    return read(raw, Reader(frozenset({REP.email}), client=Person(CLIENT.name, CLIENT.email)))[1]


# --- the servers -----------------------------------------------------------------------------------------------------


@pytest.fixture
def world() -> Iterator[MailWorld]:
    with MailWorld({REP.email: "one", CLIENT.email: "two"}, frozenset({"gone@acme.example"}), lambda: NOON) as servers:
        yield servers


def test_what_is_sent_by_smtp_is_in_the_inbox_by_imap_and_written_down(world: MailWorld) -> None:
    answer = reply("Hi Sam,", "Grüße, und ja.")(CLIENT, ask(), NOON)
    send(CLIENT, "two", world.smtp_port, answer)
    (delivery,) = world.deliveries(0)
    (arrived,) = mailbox(REP, world, "one")
    assert (delivery.sender, delivery.recipient) == (CLIENT.email, REP.email)
    assert arrived["Return-Path"] == f"<{CLIENT.email}>"
    assert words_of(arrived).splitlines() == words_of(answer).splitlines()
    with IMAPClient(HOST, port=world.imap_port, ssl=False) as session:
        session.login(REP.email, "one")
        session.select_folder("INBOX")
        assert session.search(["ALL"]) == [delivery.uid]
        assert {name for _, _, name in session.list_folders()} >= {"INBOX", "Sent"}


def test_whoever_idles_hears_of_mail_that_came_just_before(world: MailWorld) -> None:
    with (
        socket.create_connection((HOST, world.imap_port), timeout=10) as connection,
        connection.makefile("rwb") as lines,
    ):

        def say(command: str, until: str) -> None:
            lines.write(command.encode() + b"\r\n")
            lines.flush()
            while not lines.readline().decode().startswith(until):
                pass

        say(f"a LOGIN {REP.email} one", "a OK")
        say("b SELECT INBOX", "b OK")
        for count in range(1, 6):
            world.deliver(REP.email, b"Subject: x\r\n\r\nx\r\n")
            say("c IDLE", "+ ")
            assert any(line == f"* {count} EXISTS\r\n".encode() for line in lines)
            say("DONE", "c OK")


def test_a_wrong_password_is_refused_and_not_left_without_an_answer(world: MailWorld) -> None:
    with smtplib.SMTP(HOST, world.smtp_port, timeout=10) as session, pytest.raises(smtplib.SMTPAuthenticationError):
        session.login(REP.email, "wrong")


def test_an_unknown_address_is_refused_and_a_dead_one_found_out_later(world: MailWorld) -> None:
    with smtplib.SMTP(HOST, world.smtp_port, timeout=10) as session:
        session.login(REP.email, "one")
        session.sendmail(REP.email, ["gone@acme.example"], b"Subject: x\r\n\r\nx\r\n")
        with pytest.raises(smtplib.SMTPRecipientsRefused):
            session.sendmail(REP.email, ["nobody@acme.example"], b"Subject: x\r\n\r\nx\r\n")
    assert [(d.recipient, d.uid) for d in world.deliveries(0)] == [("gone@acme.example", 0)]


def test_an_absence_note_and_a_bounce_have_a_null_return_path(world: MailWorld) -> None:
    send(CLIENT, "two", world.smtp_port, absence("I am out of the office.")(CLIENT, ask(), NOON))
    world.deliver(REP.email, bounce("gone@acme.example", ask(), NOON))
    assert [mail["Return-Path"] for mail in mailbox(REP, world, "one")] == ["<>", "<>"]


def test_without_the_extra_the_demo_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "aiosmtpd.smtp", None)
    with pytest.raises(UserError) as refusal:
        run()
    assert "pip install 'whoelse[demo]'" in str(refusal.value)


# --- the people ------------------------------------------------------------------------------------------------------


def test_a_reply_names_the_email_that_it_answers_and_quotes_it_below() -> None:
    answer = reply("Hi Sam,", "Yes, you kept your promise.")(CLIENT, ask(), NOON)
    assert answer["In-Reply-To"] == "<step@brightside.example>"
    assert answer["References"] == "<own@whoelse> <step@brightside.example>"
    assert answer["Subject"] == "Re: Our review"
    assert "> Did we keep our promise?" in words_of(answer)
    reading = understood(answer)
    assert (reading.event, reading.text.split("\n\n")[1]) == (Event.CONFIRMED, "Yes, you kept your promise.")


def test_an_introduction_is_what_the_link_says_to_the_letter() -> None:
    page = f'<p><a href="https://brightside.example">us</a> <a href="{LINK.replace("&", "&amp;")}">introduce us</a></p>'
    message = introduction(CLIENT, ask(page), NOON)
    assert message["To"] == "barry+jobs@northwind.example"
    assert message["Cc"] == REP.email
    assert message["Subject"] == "Barry, meet Sam & Söhne"
    assert words_of(message).startswith("Hi Barry,\n\n100 % worth it: 1 + 1 & more?\nDana\n")
    assert message["In-Reply-To"] is None
    assert understood(message).event is Event.INTRODUCED


def test_a_plus_in_the_link_is_a_plus() -> None:
    page = f'<a href="mailto:barry@northwind.example?cc={REP.email}&amp;subject=1+1&amp;body=2+2%0D%0A">x</a>'
    message = introduction(CLIENT, ask(page), NOON)
    assert (message["Subject"], words_of(message).splitlines()[0]) == ("1+1", "2+2")


def test_an_email_without_the_link_cannot_be_clicked() -> None:
    with pytest.raises(LookupError):
        mailto_in('<a href="mailto:sam@brightside.example">write to me</a>')


def test_an_absence_note_is_read_as_one_with_its_date() -> None:
    reading = understood(
        absence("I am out of the office and will be back on Monday 16 March 2026.")(CLIENT, ask(), NOON)
    )
    assert (reading.event, reading.until) == (Event.OUT_OF_OFFICE, date(2026, 3, 16))


def test_a_bounce_names_the_dead_address_and_the_email() -> None:
    reading = understood(bounce(CLIENT.email, ask(), NOON))
    assert (reading.event, reading.recipients, reading.status) == (Event.BOUNCED, (CLIENT.email,), "5.1.1")
    assert "<step@brightside.example>" in reading.originals


# --- the whole -------------------------------------------------------------------------------------------------------


def play(keep: Path | None = None, script: Script = SCRIPT) -> tuple[int, str]:
    screen = Console(file=io.StringIO(), width=100)
    code = run(keep, console=screen, script=script)
    assert isinstance(screen.file, io.StringIO)
    return code, screen.file.getvalue()


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, int, str]:
    folder = tmp_path_factory.mktemp("demo") / "kept"
    code, said = play(folder)
    return folder, code, said


def test_every_story_ends_as_scripted(played: tuple[Path, int, str]) -> None:
    _, code, said = played
    assert "Every story ended as scripted" in said, said
    assert code == 0


def test_the_summary_shows_the_sequences_at_work_the_funnel_and_the_graph(played: tuple[Path, int, str]) -> None:
    _, _, said = played
    summary = said[said.index("The sequences at work") :]
    assert [name for name in SEQUENCES if f"  {name} " in summary] == list(SEQUENCES)
    assert "Dana: confirmed, Noor: no answer, Petra: bounced" in summary
    assert "✗" not in said
    told = " ".join(summary.split())
    assert "asked 3" in told and "introduced 1" in told and "won 1" in told
    assert "Dana Reyes, Acme Tools └─ Barry Jones" in told and "introduced, won" in told
    assert "answered within 30 minutes of the introduction: 1 of 1" in told and "Barry: met" in told


def test_who_was_introduced_is_answered_within_minutes_and_no_draft_lies_for_a_day(
    played: tuple[Path, int, str],
) -> None:
    _, _, said = played
    told = " ".join(said.split())
    assert re.search(r"11:12 Sam \$ whoelse drafts approve \w{4} .* 11:12 → Barry “Shall we talk for 20 minutes", told)
    assert "has waited for a day" not in told


def test_what_is_told_says_who_got_what_what_came_back_and_what_was_decided(played: tuple[Path, int, str]) -> None:
    _, _, said = played
    told = " ".join(said.split())
    for line in (
        "“Could you introduce me to Barry Jones by email?”",
        "“Yes, you kept your promise.” value_review · a clear yes.",
        "an absence is no answer",
        "“Undelivered Mail Returned to Sender” value_review · a dead address,",
        "“Barry, meet Sam Carter” follow_up_1_1_1 · introduced! No more nudging",
    ):
        assert line in told


def test_the_kept_project_holds_config_store_and_all_mail(played: tuple[Path, int, str]) -> None:
    folder, _, said = played
    config = load_config(folder / "config.yaml", {}, thorough=True)
    store = open_store(config.store)
    sent = store.outbox_in(OutboxState.SENT)
    store.close()
    emails = sum(len(role.ending.emails) for role in CAST)
    assert len(sent) == emails - 1  # the one that came back counts as refused
    answers = 6 + 1 + 1  # Dana's four, the introduction in two mailboxes; the bounce; Barry's
    copies = 1  # of the answer to Barry, to Dana in Bcc
    assert len(list((folder / "mail").glob("*.eml"))) == emails + answers + copies + 1
    assert (folder / "secret.key").stat().st_mode & 0o077 == 0
    assert (folder / "password").stat().st_mode & 0o077 == 0
    assert str(folder) in said.replace("\n", "")


def test_an_answer_off_the_script_fails_the_demo() -> None:
    chatty = replace(NOOR, turns=(Turn(2, timedelta(hours=1), reply("Hi Sam,", "No, you did not keep your promise.")),))
    quick = Script(cast=(chatty,), end=BEGIN + timedelta(days=14))
    code, said = play(script=quick)
    assert code == 1
    assert "Noor's value_review should have ended as no_answer, and has ended as not_confirmed" in " ".join(
        said.split()
    )


def test_an_email_that_never_leaves_fails_the_demo() -> None:
    code, said = play(script=Script(cast=(DANA,), end=BEGIN + timedelta(days=2)))
    assert code == 1
    assert "Dana should have got value_review/document, value_review/confirm" in " ".join(said.split())


def test_a_folder_with_something_in_it_is_not_written_into(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(UserError, match="not an empty folder"):
        run(tmp_path)
    assert [file.name for file in tmp_path.iterdir()] == ["mine.txt"]


# --- what it says ----------------------------------------------------------------------------------------------------


def test_every_email_of_the_script_has_its_reason_in_words() -> None:
    assert {email for role in CAST for email in role.ending.emails} == WHY.keys()


def test_the_gist_of_an_email_is_its_question() -> None:
    assert (
        gist("Hi Dana,\n\nA week\ngoes by. Are you still\nhappy to send it? Tell me.\n\nSam")
        == "Are you still happy to send it?"
    )
    assert gist("Hi Dana,\n\nThank you for it. I won't forget that.\n\nSam") == "Thank you for it."


def test_the_picture_is_whole_and_names_no_place() -> None:
    picture = (Path(__file__).parent.parent / "docs" / "demo.svg").read_text()
    ElementTree.fromstring(picture)
    assert "Every&#160;story&#160;ended&#160;as&#160;scripted" in picture
    assert "http" not in picture.replace("http://www.w3.org/2000/svg", "")
    assert not [place for place in ("/work", "/home", "/tmp", "/root", "/Users") if place in picture]
