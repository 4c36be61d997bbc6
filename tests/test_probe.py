"""`check --connect --probe`: one message from a rep to themselves tells how the account behaves, and what it told is used."""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import office
import pytest
import servers
from conftest import REPS
from office import DANA, SAM, Office
from test_cli import Whoelse, project, whoelse  # noqa: F401

from engine import outbox
from engine.config import Config, load_config
from engine.core.model import OutboxState
from engine.daemon import account
from engine.doubts import files_sent
from engine.imap import Fetched
from engine.inbox import receive
from engine.probe import probe
from engine.project import open_store
from engine.smtp import InDoubt

there = office.one_office
MONDAY = datetime(2026, 3, 2, 8, 30, tzinfo=UTC)

pytestmark = pytest.mark.real


@pytest.fixture
def rep(
    project: Path,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
    dovecot: servers.Dovecot,
    postfix: servers.Postfix,
) -> str:
    """A project whose one rep has a mailbox on real servers that nobody has used yet."""
    address = REPS.pop()
    (project / "config.yaml").write_text(
        f"mailboxes:\n  - address: {address}\n    name: Sam Carter\n    cafile: {dovecot.cafile}\n"
        f"    smtp: {{host: localhost, port: {postfix.submission_port}, security: starttls}}\n"
        f"    imap: {{host: localhost, port: {dovecot.imaps_port}, security: tls}}\n    password: {{env: REP_PASSWORD}}\n"
    )
    monkeypatch.setenv("REP_PASSWORD", dovecot.users[address])
    return address


@pytest.fixture
def config(rep: str) -> Config:
    return load_config(Path("config.yaml"), {})


@contextmanager
def filing(dovecot: servers.Dovecot, user: str, rewrite: Callable[[bytes], bytes] = lambda raw: raw) -> Iterator[None]:
    """A server that files what its user sends: whatever comes in from them is put into Sent."""
    ended = threading.Event()

    def work() -> None:
        while not ended.is_set():
            if mail := dovecot.messages(user):
                dovecot.append(user, "Sent", rewrite(mail[0]), "\\Seen")
                return
            time.sleep(0.1)

    clerk = threading.Thread(target=work)
    clerk.start()
    try:
        yield
    finally:
        ended.set()
        clerk.join()


@pytest.fixture
def nobody_files(monkeypatch: pytest.MonkeyPatch) -> None:
    """There is nothing to wait for."""
    monkeypatch.setattr("engine.probe.FILED_SECONDS", 1.0)


@pytest.mark.usefixtures("nobody_files")
def test_a_server_that_files_nothing_is_known_as_such(rep: str, config: Config, whoelse: Whoelse) -> None:  # noqa: F811
    ran = whoelse("check", "--connect", "--probe", "--json")
    assert ran.code == 0, ran.out + ran.err
    assert json.loads(ran.out)["probes"] == [{"mailbox": rep, "files_sent": "no", "keeps_id": "yes", "trouble": ""}]
    known = open_store(config).mailbox(rep)
    assert known and (known.files_sent, known.keeps_id) == ("no", "yes")


def test_a_server_that_files_by_itself_is_known_as_such(
    rep: str,
    config: Config,
    whoelse: Whoelse,  # noqa: F811
    dovecot: servers.Dovecot,
) -> None:
    with filing(dovecot, rep):
        ran = whoelse("check", "--connect", "--probe")
    assert ran.code == 0 and "the server files sent mail by itself" in ran.out
    known = open_store(config).mailbox(rep)
    assert known and (known.files_sent, known.keeps_id) == ("yes", "yes")


def test_a_server_that_rewrites_message_ids_is_found_out(rep: str, config: Config, dovecot: servers.Dovecot) -> None:
    (mailbox,) = config.mailboxes
    rewrite = lambda raw: re.sub(rb"(?mi)^Message-ID: .*?$", b"Message-ID: <other@server.example>\r", raw)
    with filing(dovecot, rep, rewrite):
        learned = probe(mailbox, account(mailbox, "smtp"), account(mailbox, "imap"), MONDAY)
    assert (learned.files_sent, learned.keeps_id) == ("yes", "no")


def test_what_a_server_does_not_let_us_see_is_not_guessed(
    rep: str,
    config: Config,
    whoelse: Whoelse,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (mailbox,) = config.mailboxes
    monkeypatch.setattr("engine.probe.ARRIVES_SECONDS", 1.0)
    elsewhere = replace(mailbox, address="dana40@acme.test")  # it arrives where we do not look
    learned = probe(elsewhere, account(mailbox, "smtp"), account(mailbox, "imap"), MONDAY)
    assert (learned.files_sent, learned.keeps_id) == ("", "") and learned.trouble
    assert open_store(config).mailbox(rep) is None
    monkeypatch.setenv("REP_PASSWORD", "wrong")
    assert whoelse("check", "--connect", "--probe").code == 1


@pytest.mark.usefixtures("nobody_files")
def test_a_config_that_does_not_fit_is_said(rep: str, whoelse: Whoelse) -> None:  # noqa: F811
    file = Path("config.yaml")
    file.write_text(file.read_text().replace("    password:", "    sent: server\n    password:"))
    ran = whoelse("check", "--connect", "--probe")
    assert ran.code == 0 and "the config says `sent: server`, which does not fit" in ran.out


def test_the_test_message_concerns_nobody(there: Office) -> None:
    """The daemon reads it in the Inbox and in Sent like any other mail."""
    nudge = there.enroll(DANA, "nudge")
    there.work()
    raw = there.mail("This message was sent by `whoelse check`.", sender=SAM, subject="A test of your account (0a1b)")
    for folder, kind in (("INBOX", "inbox"), ("Sent", "sent")):
        receive(there.inst, Fetched(SAM, folder, kind, 1, 9, raw, len(raw), there.now), there.now)  # type: ignore[arg-type]
    assert there.state(nudge) == "active" and there.store.open_inbound() == [] and there.store.open_tasks() == []


# --- what was learned is used ----------------------------------------------------------------------------------------


def test_the_config_is_believed_and_auto_asks_what_was_learned(there: Office) -> None:
    mailbox = there.inst.rep(SAM)
    assert mailbox.sent == "auto" and not files_sent(there.inst.store, mailbox), "nothing is known yet"
    there.store.learn_mailbox(SAM, "yes", "yes")
    assert files_sent(there.inst.store, mailbox)
    assert not files_sent(there.inst.store, replace(mailbox, sent="append"))
    there.store.learn_mailbox(SAM, "no", "yes")
    assert not files_sent(there.inst.store, mailbox)
    assert files_sent(there.inst.store, replace(mailbox, sent="server"))


def test_a_doubt_is_ended_by_absence_only_where_the_server_is_known_to_file(there: Office) -> None:
    there.enroll(DANA, "nudge")
    there.work(InDoubt("no answer came"))
    (doubt,) = there.store.outbox_in(OutboxState.IN_DOUBT)
    mailbox = there.inst.rep(SAM)
    for learned, state in (("no", OutboxState.IN_DOUBT), ("yes", OutboxState.QUEUED)):
        there.store.learn_mailbox(SAM, learned, "yes")
        for _ in range(2):
            there.later(minutes=16)
            outbox.look(there.inst, doubt, None, files_sent(there.inst.store, mailbox), there.now)
        found = there.store.outbox_message(doubt.id)
        assert found and found.state is state
