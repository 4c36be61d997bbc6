"""The attacks that reliability.md lists, tried: what a stranger writes becomes no header, acts on nobody else and sends nothing
anywhere; a password stands nowhere but where it was put; no server that is not the right one gets it; a full disk sends nothing.

Bombs in YAML are tried in test_yaml.py, templates that break out in test_render.py, hostile mail in test_hostile.py, commands
without a shell in test_config.py."""

from __future__ import annotations

import asyncio
import base64
import email
import email.policy
import itertools
import logging
import os
import re
import resource
import ssl
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import crash
import office
import pytest
import servers
from mailboxes import Diary, letter, watching
from office import BARRY, DANA, LEE, SAM, Office
from scripted import Line, scripted, stub

from engine import enrollments, imap, inbox, smtp
from engine.__main__ import main
from engine.account import Account
from engine.config import load_config
from engine.core.model import Enrollment, OutboxMessage, OutboxState, State
from engine.enrollments import Wish, enroll
from engine.letters import unsubscribe_token
from engine.project import open_installation
from engine.secrets import create_key

there = office.one_office
EVIL = "evil@attacker.test"


# --- what a stranger writes becomes no header ------------------------------------------------------------------------

HEADERS = {"From", "To", "Subject", "Date", "Message-ID", "In-Reply-To", "References", "List-Unsubscribe", "MIME-Version",
           "Content-Type"}  # fmt: skip
TURNS_AROUND = re.compile("[\u202a-\u202e\u2066-\u2069\u2028\u2029\x00-\x08\x0b-\x1f\x7f-\x9f]")

WORDS = {
    "a line break": "=?utf-8?q?Hello=0D=0ABcc:_evil@attacker.test?=",
    "a line break in base64": "=?utf-8?b?" + base64.b64encode(b"x\r\nBcc: evil@attacker.test").decode() + "?=",
    "a line separator": "=?utf-8?b?" + base64.b64encode("x\u2028Bcc: evil@attacker.test".encode()).decode() + "?=",
    "text that runs backwards": "=?utf-8?b?" + base64.b64encode("invoice\u202egnp.exe".encode()).decode() + "?=",
    "isolates": "=?utf-8?b?" + base64.b64encode("a\u2066b\u2067c".encode()).decode() + "?=",
    "NULs": "=?utf-8?q?a=00b=01?=",
    "half a character": "=?utf-7?q?+2AA-?=",
    "a template": "{{ rep.name }} {% raw %}",
    "HTML": "<script>alert(1)</script>",
    "an encoded word in an encoded word": "=?utf-8?q?=3D=3Futf-8=3Fq=3Fx=3D0D=3D0ABcc:=3F=3D?=",
    "2,000 characters": "x" * 2000,
}


def sound(message: OutboxMessage) -> EmailMessage:
    """The email as it is read at the other end: our headers, each once, one recipient, nothing that turns text around."""
    parsed = email.message_from_bytes(message.raw, policy=email.policy.default)
    assert isinstance(parsed, EmailMessage)
    assert len(parsed.keys()) == len(set(parsed.keys()))
    assert set(parsed.keys()) <= HEADERS
    assert [a.addr_spec for a in parsed["To"].addresses] == [message.recipient]
    assert not any(TURNS_AROUND.search(str(value)) for value in parsed.values())
    assert EVIL not in str(parsed["To"])
    return parsed


def introduction(
    there: Office, subject: str = "An introduction", name: str = "Barry Jones", sender: str = "Dana"
) -> bytes:
    """Dana introduces Barry in a mail of her own, so that its subject becomes the thread's."""
    return (
        f"From: {sender} <{DANA}>\r\nTo: {name} <{BARRY}>\r\nCc: {SAM}\r\nSubject: {subject}\r\n"
        "Message-ID: <intro@acme.test>\r\n\r\nBarry, meet Sam. Sam, meet Barry.\r\n"
    ).encode("utf-8", "surrogateescape")


@pytest.mark.parametrize("words", WORDS.values(), ids=WORDS.keys())
@pytest.mark.parametrize("where", ["subject", "name", "sender"])
def test_nothing_that_a_stranger_writes_becomes_a_header(there: Office, where: str, words: str) -> None:
    there.confirmed(DANA)
    there.enroll(DANA, "ask")
    there.work()
    there.later(hours=2)
    there.receive(introduction(there, **{where: words}))
    thanked = there.run(days=5)
    assert [m.template for m in thanked] == ["thanks"]
    for message in thanked:
        sound(message)


@pytest.mark.parametrize("id", ["<a\u202eb@c.test>", "<" + "a" * 990 + "@c.test>", "<=?utf-8?q?x=0D=0ABcc:_y?=@c.test>",
                                "<\u00e9@c.test>", "<a\0b@c.test>", "<a@b.test> <evil@attacker.test>", "no id at all",
                                "<a@b.test>\r\n <c@d.test>"])  # fmt: skip
def test_the_ids_of_others_stay_in_their_headers(there: Office, id: str) -> None:
    there.enroll()
    (first,) = there.work()
    raw = there.mail("I need to think about that.", DANA, first).replace(
        b"Message-ID: ", b"Message-ID: " + id.encode() + b"\r\nX-Old: "
    )
    there.later(hours=1)
    there.receive(raw)
    inbox.settle(there.inst, DANA, "continue", {}, there.now)
    follow_ups = there.run(days=9)
    assert follow_ups
    for message in follow_ups:
        parsed = sound(message)
        assert all(re.fullmatch(r"<[\x21-\x7e]+>", one) for one in parsed["References"].split())


@pytest.mark.parametrize(
    "name", ["Dana\r\nBcc: evil@attacker.test", "Dana\nBcc: x", "Dana\u202eWhitfield", "Dana\u2028W", "Da\0na"]
)
def test_a_name_that_no_header_takes_is_refused_at_the_door(there: Office, name: str) -> None:
    refused = enrollments.enroll(there.inst, Wish(DANA, "nudge", {}, SAM, contact={"name": name}), there.now)
    assert isinstance(refused, list)
    assert str(refused[0]).startswith("name holds a ")
    assert there.store.contact_at(DANA) is None
    about = {"prospect": {"name": name, "email": BARRY}}
    there.confirmed(LEE)
    refused = there.wish(LEE, "thanks", **about)
    if isinstance(refused, Enrollment):  # a line break that is only one is a space
        assert "\n" not in refused.variables["prospect"]["name"]


def test_a_name_that_was_kept_all_the_same_stops_its_own_emails_alone(there: Office) -> None:
    """As an older version, or a hand in the database, may have left it."""
    bad, good = there.enroll(DANA), there.enroll(LEE)
    dana = there.store.contact_at(DANA)
    assert dana
    there.store.save_contact(replace(dana, name="Dana\r\nBcc: evil@attacker.test"))
    sent = there.work()
    assert [m.recipient for m in sent] == [LEE]
    assert there.state(bad) is State.PAUSED
    assert there.state(good) is State.ACTIVE
    assert any("control character" in task.text + task.title for task in there.store.open_tasks())


# --- what a stranger may bring about ---------------------------------------------------------------------------------


@pytest.fixture
def two(there: Office) -> tuple[Office, Enrollment, Enrollment, OutboxMessage]:
    """Dana and Lee have each got the first email of a nudge; the email is Dana's."""
    dana, lee = there.enroll(DANA), there.enroll(LEE)
    sent = there.work()
    there.later(hours=1)
    return there, dana, lee, next(m for m in sent if m.recipient == DANA)


NEWS = {
    "a reply": "I need to think about that.",
    "a no": "No thank you, please do not write again.",
    "a yes": "Yes, you did exactly what you promised.",
    "an opt-out": "Please unsubscribe me.",
    "a name": f"You should talk to Mallory Evil at Attacker Ltd, {EVIL}.",
}


@pytest.mark.parametrize("words", NEWS.values(), ids=NEWS.keys())
@pytest.mark.parametrize("named", ["In-Reply-To", "References", "text"])
def test_a_forged_reference_to_nothing_of_ours_does_nothing(two: Any, words: str, named: str) -> None:
    there, dana, lee, first = two
    forged = re.sub("[a-z2-7]{8}", "aaaaaaaa", first.message_id, count=1)
    header = f"{named}: {forged}\r\n" if named != "text" else ""
    raw = f"From: {EVIL}\r\nTo: {SAM}\r\nSubject: Re: {first.subject}\r\n{header}\r\n{words} {forged}\r\n"
    there.receive(raw.encode())
    assert (there.of(dana), there.of(lee)) == (dana, lee) or all(there.state(e) is State.ACTIVE for e in (dana, lee))
    assert not there.store.suppressed(DANA)
    assert {m.recipient for m in there.run(days=9)} == {DANA, LEE}


@pytest.mark.parametrize("words", NEWS.values(), ids=NEWS.keys())
def test_a_stranger_who_knows_one_of_our_ids_reaches_that_one_conversation_and_gets_no_mail(
    two: Any, words: str
) -> None:
    """Who was forwarded our email knows its id. They are taken for the person's own voice, for that person alone."""
    there, dana, lee, first = two
    there.hear(words, sender=EVIL, to=first)
    after = there.run(days=30)
    assert there.of(lee).outcome != "unsubscribed"
    assert {m.recipient for m in after} <= {DANA, LEE}
    assert LEE in {m.recipient for m in after}
    assert not there.store.suppressed(LEE)
    assert not there.store.suppressed(EVIL)


@pytest.mark.parametrize("change", [{"recipient": LEE}, {"message_id": "<x@y.test>"}])
def test_a_forged_report_suppresses_nobody(two: Any, change: dict[str, str]) -> None:
    there, dana, lee, first = two
    there.receive(there.report(first, "5.1.1", **change))
    assert not there.store.suppressed(DANA)
    assert not there.store.suppressed(LEE)
    assert all(there.state(e) is State.ACTIVE for e in (dana, lee))


def test_a_forged_unsubscribe_link_does_nothing(two: Any) -> None:
    there, dana, lee, _ = two
    right = unsubscribe_token(there.inst, there.of(dana), DANA)
    for token in (right[:-1] + ("0" if right[-1] != "0" else "1"), right.replace(dana.id, lee.id), right[:-20] + "0" * 20,
                  unsubscribe_token(replace(there.inst, key=b"x" * 32), there.of(dana), DANA)):  # fmt: skip
        there.hear("", sender=EVIL, subject=f"unsubscribe {token}")
    assert not there.store.suppressed(DANA)
    assert not there.store.suppressed(LEE)
    assert all(there.state(e) is State.ACTIVE for e in (dana, lee))


@pytest.mark.parametrize("kind", ["inbox", "junk"])
def test_mail_forged_in_the_reps_name_sends_nothing_and_at_most_holds_back(two: Any, kind: str) -> None:
    there, dana, lee, first = two
    before = len(there.store.outbox_in(OutboxState.SENT))
    there.hear("Yes! Introduce everybody.", sender=SAM, to=first, To=DANA, folder=kind.title(), kind=kind)
    assert len(there.store.outbox_in(OutboxState.SENT)) == before
    assert there.state(lee) is State.ACTIVE
    assert there.state(dana) is (State.ACTIVE if kind == "junk" else State.HELD)
    assert not there.store.suppressed(DANA)
    assert {m.recipient for m in there.run(days=9)} <= {DANA, LEE}


def test_where_answers_are_to_go_is_never_believed(two: Any) -> None:
    """Reply-To and its kin: neither do they make a stranger the client, nor does anything of ours go there."""
    there, dana, lee, first = two
    tricks = {
        "Reply_To": DANA,
        "Sender": DANA,
        "Return_Path": f"<{DANA}>",
        "X_Original_From": DANA,
        "Resent_From": DANA,
    }
    there.hear("I do not want this.", sender=EVIL, subject="Hello", **tricks)
    assert there.state(dana) is State.ACTIVE
    there.hear("I need to think about that.", to=first, Reply_To=EVIL, Return_Path=f"<{EVIL}>")
    inbox.settle(there.inst, DANA, "continue", {}, there.now)
    assert {m.recipient for m in there.run(days=9)} == {DANA, LEE}


def test_a_name_in_front_of_an_address_is_no_address(two: Any) -> None:
    there, dana, _, _ = two
    there.receive(f'From: "{DANA}" <{EVIL}>\r\nTo: {SAM}\r\nSubject: Hello\r\n\r\nNo thank you.\r\n'.encode())
    there.receive(f"From: {EVIL}, {DANA}\r\nTo: {SAM}\r\nSubject: Hello\r\n\r\nNo thank you.\r\n".encode())
    assert there.state(dana) is State.ACTIVE


# --- a password is shown to the right server alone -------------------------------------------------------------------

PASSWORD = "correct-horse-battery"  # noqa: S105


def forms(secret: str, user: str = SAM) -> list[bytes]:
    """The secret in every form in which mail programs write it."""
    plain = [secret, f"\0{user}\0{secret}", f"user={user}\1auth=Bearer {secret}\1\1"]
    return [secret.encode(), *(base64.b64encode(one.encode()) for one in plain)]


class Impostor:
    """A server that writes down all that it is told, in the clear or below TLS."""

    def __init__(self, greeting: str, offers: str, refuses: str) -> None:
        self.heard = b""
        self.greeting, self.offers, self.refuses = greeting, offers, refuses

    def talk(self, line: Line) -> None:
        line.say(self.greeting)
        while True:
            said = line.hear()
            self.heard += said + b"\n"
            tag = said.split(b" ")[0].decode("latin-1")
            asks = b"EHLO" in said or b"CAPABILITY" in said
            line.say((self.offers if asks else self.refuses).replace("TAG", tag))


def impostor(kind: str) -> Impostor:
    if kind == "smtp":
        return Impostor("220 mx.test ESMTP", "250-mx.test\r\n250 AUTH PLAIN LOGIN", "502 5.5.1 no")
    capable = "* CAPABILITY IMAP4rev1 AUTH=PLAIN\r\nTAG OK done"
    return Impostor("* OK [CAPABILITY IMAP4rev1 AUTH=PLAIN] ready", capable, "TAG BAD no")


async def logged_in(kind: str, account: Account) -> str:
    """The sentence with which the login fails."""
    said = await smtp.check(account) if kind == "smtp" else await asyncio.to_thread(imap.check, account)
    assert isinstance(said, str), said
    return said


@pytest.mark.parametrize("kind", ["smtp", "imap"])
async def test_a_server_whose_starttls_was_stripped_gets_no_password(kind: str) -> None:
    server = impostor(kind)
    with scripted(server.talk) as port:
        said = await logged_in(kind, Account("127.0.0.1", port, "starttls", SAM, lambda: PASSWORD))
    assert "TLS" in said
    assert "127.0.0.1" in said
    assert not any(form in server.heard for form in forms(PASSWORD))


def expired(folder: Path) -> servers.Certificates:
    """A certificate of the same authority that was valid only yesterday."""
    made = servers.certificates(folder)
    old = str(folder / "old.pem")
    yesterday, before = (f"{datetime.now(UTC) - timedelta(days=n):%y%m%d%H%M%SZ}" for n in (1, 9))
    (folder / "index").write_text("")
    (folder / "serial").write_text("1000\n")
    (folder / "ca.conf").write_text(
        f"[ca]\ndefault_ca=d\n[d]\ndatabase={folder}/index\nserial={folder}/serial\nnew_certs_dir={folder}\n"
        "default_md=sha256\npolicy=p\nrand_serial=no\n[p]\ncommonName=supplied\n"
    )
    servers.openssl(
        "ca", "-batch", "-config", str(folder / "ca.conf"), "-cert", made.cafile, "-keyfile", str(folder / "ca-key.pem"),
        "-in", str(folder / "cert.csr"), "-out", old, "-startdate", before, "-enddate", yesterday, "-notext",
        "-extfile", str(folder / "names"),
    )  # fmt: skip
    return replace(made, cert=old)


@pytest.mark.parametrize("kind", ["smtp", "imap"])
@pytest.mark.parametrize(("fault", "remedy"), [
    ("expired", "its operator must renew it"),
    ("another host", "use the host name that its certificate is made for"),
    ("untrusted", "if the server has a private authority, name that one's certificate in `cafile`"),
    ("its own authority", "if the server has a private authority"),
])  # fmt: skip
async def test_a_server_with_a_wrong_certificate_gets_no_password(
    tmp_path: Path, kind: str, fault: str, remedy: str
) -> None:
    right = servers.certificates(tmp_path / "right")
    match fault:
        case "expired":
            shown = expired(tmp_path / "old")
            right = shown
        case "another host":
            shown = right = servers.certificates(tmp_path / "other", "DNS:mail.other.test")
        case "untrusted":
            shown = right
            right = replace(right, cafile="")
        case _:
            shown = servers.certificates(tmp_path / "evil")
    server = impostor(kind)
    with scripted(server.talk, shown.context()) as port:
        said = await logged_in(kind, Account("127.0.0.1", port, "tls", SAM, lambda: PASSWORD, cafile=right.cafile))
    assert "shows a certificate that cannot be trusted" in said
    assert remedy in said
    assert server.heard == b""


async def test_an_old_tls_is_refused(tmp_path: Path) -> None:
    tls = servers.certificates(tmp_path)
    context = tls.context()
    context.minimum_version = ssl.TLSVersion.TLSv1
    context.maximum_version = ssl.TLSVersion.TLSv1_1
    context.set_ciphers("ALL:@SECLEVEL=0")
    server = impostor("smtp")
    with scripted(server.talk, context) as port:
        said = await logged_in("smtp", Account("127.0.0.1", port, "tls", SAM, lambda: PASSWORD, cafile=tls.cafile))
    assert "TLS" in said
    assert server.heard == b""


# --- secrets stand nowhere -------------------------------------------------------------------------------------------

RUN = """
store: whoelse.db
secret: secret.key
company: {{name: Demo, domains: [demo.test], zone: UTC}}
company_cap: 0 days
mailboxes:
{boxes}
windows:
  business_hours: always
"""
BOX = """
  - address: {address}
    name: Sam Carter
    smtp: {{host: localhost, port: {submission}, security: starttls}}
    imap: {{host: localhost, port: {imaps}, security: tls}}
    cafile: {cafile}
    per_day: 100
    gap: 0-0 seconds
    sent: append
    {secret}
"""
TOKEN = "ya29.a0-token-of-a-kind"  # noqa: S105
SEQUENCE = "name: One\nkind: touch\nto: client\nwindow: always\nsteps:\n  - {id: first, email: one}\n"
TEMPLATE = "---\nsubject: Hello {{ client.first_name }}\n---\nHello {{ client.first_name }}, how are things at yours?\n"


@pytest.fixture
def run_folder(
    tmp_path: Path, dovecot: servers.Dovecot, postfix: servers.Postfix, monkeypatch: pytest.MonkeyPatch
) -> Path:
    """A project with three mailboxes: a password from the environment, one from a file, a token from a program."""
    old = os.umask(0)  # whatever is 0600 below is so by itself
    monkeypatch.setattr("os.environ", dict(os.environ))
    by_env, by_file, by_token = (f"secret{n}.{time.time_ns()}@demo.test" for n in range(3))
    secrets = {by_env: "env-password-7xq", by_file: "file-password-9zk", by_token: "unused"}
    for address, password in secrets.items():
        dovecot.add_user(address, password)
    private = tmp_path / "password"
    private.write_text(secrets[by_file] + "\n")
    private.chmod(0o600)
    program = tmp_path / "token.sh"
    program.write_text(f"#!/bin/sh\necho {TOKEN}\n")
    program.chmod(0o700)
    common = {"submission": postfix.submission_port, "imaps": dovecot.imaps_port, "cafile": dovecot.cafile}
    boxes = "".join(
        BOX.format(address=address, secret=secret, **common)
        for address, secret in (
            (by_env, "password: {env: REP_PASSWORD}"),
            (by_file, f"password: {{file: {private}}}"),
            (by_token, f"token_command: {program}"),
        )
    )
    (tmp_path / "config.yaml").write_text(RUN.format(boxes=boxes))
    for name, text in (("sequences/one.yaml", SEQUENCE), ("templates/one.md", TEMPLATE)):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_text(text)
    create_key(tmp_path / "secret.key")
    yield tmp_path  # type: ignore[misc]
    os.umask(old)


def everywhere(folder: Path, but: set[str]) -> Iterator[tuple[str, bytes]]:
    for file in sorted(folder.rglob("*")):
        if file.is_file() and file.name not in but:
            yield str(file.relative_to(folder)), file.read_bytes()


def arguments() -> bytes:
    """The command lines of all processes of this machine."""
    found = b""
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            found += file.read_bytes() + b"\n"
        except OSError:
            continue
    return found


DEBUGGING = """
import asyncio, logging, sys
from pathlib import Path
logging.basicConfig(level=logging.DEBUG, stream=sys.stderr)
import engine.run, os
from engine.config import load_config
begin = engine.run.begin_log
def loud(log_format):
    begin(log_format)
    for name in ("", "whoelse", "imapclient", "aiosmtplib", "asyncio", "imaplib"):
        logging.getLogger(name).setLevel(logging.DEBUG)
    engine.run.log.propagate = True
engine.run.begin_log = loud
sys.exit(engine.run.run(load_config(Path(sys.argv[1]), os.environ)))
"""


@pytest.mark.real
def test_no_secret_stands_anywhere_after_a_run_that_logs_everything(run_folder: Path, dovecot: servers.Dovecot) -> None:
    environ = {**os.environ, "REP_PASSWORD": "env-password-7xq", "PYTHONASYNCIODEBUG": "1",
               "PYTHONPATH": str(Path(__file__).parents[1])}  # fmt: skip
    config = load_config(run_folder / "config.yaml", environ)
    inst = open_installation(config, environ, datetime.now(UTC), print)
    for number, mailbox in enumerate(config.mailboxes):
        wish = Wish(CLIENTS[number], "one", {}, mailbox.address, contact={"name": "Dana Whitfield"})
        assert isinstance(enroll(inst, wish, datetime.now(UTC)), Enrollment)
    command = [sys.executable, "-c", DEBUGGING, str(run_folder / "config.yaml")]
    with (run_folder / "debug.log").open("wb") as log:
        process = subprocess.Popen(command, env=environ, stdout=log, stderr=log, cwd=run_folder)
    shown = b""
    try:
        for _ in range(600):
            shown += arguments()
            positions = [inst.store.position(m.address, "INBOX") for m in config.mailboxes[:2]]
            if len(inst.store.outbox_in(OutboxState.SENT)) == 2 and all(positions):
                break
            assert process.poll() is None, (run_folder / "debug.log").read_text()[-3000:]
            time.sleep(0.1)
        else:
            raise AssertionError((run_folder / "debug.log").read_text()[-5000:])
        shown += arguments()
        there = [*everywhere(run_folder, {"password", "token.sh", "secret.key"})]  # the write-ahead log is there now
    finally:
        process.terminate()
        process.wait(40)
    inst.store.close()
    there += everywhere(run_folder, {"password", "token.sh", "secret.key"})
    places = {name for name, _ in there}
    assert {"debug.log", "whoelse.db", "whoelse.db-wal"} <= places
    key = (run_folder / "secret.key").read_text().strip()
    users = [m.address for m in config.mailboxes]
    for secret, user in (("env-password-7xq", users[0]), ("file-password-9zk", users[1]), (TOKEN, users[2]), (key, "")):
        for form in forms(secret, user):
            assert form not in shown
            assert [name for name, content in there if form in content] == []
    assert b"refused the login" in dict(there)["debug.log"] or b"offers no login" in dict(there)["debug.log"]
    private = ("secret.key", "whoelse.db", "whoelse.db-wal", "whoelse.db-shm")
    modes = {name: stat.S_IMODE((run_folder / name).stat().st_mode) for name in private if (run_folder / name).exists()}
    assert set(modes.values()) == {0o600}, modes


CLIENTS = ("dana@acme.test", "lee@acme.test", "barry@prospect.test")


@pytest.mark.real
@pytest.mark.parametrize("wrong", ["wrong-password-5hj", "wrong password\twith spaces"])
def test_check_connect_with_a_wrong_password_shows_none(
    run_folder: Path, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture, wrong: str
) -> None:
    caplog.set_level(logging.DEBUG)
    os.environ["REP_PASSWORD"] = wrong
    (run_folder / "password").write_text(wrong + "x\n")
    config = str(run_folder / "config.yaml")
    for words in (["check", "--connect", "--config", config], ["check", "--connect", "--json", "--config", config]):
        assert main(words) == 1
    said = "".join(capfd.readouterr()) + caplog.text
    assert said.count("refused the login") >= 4 or "line break" in said
    for secret in (wrong, wrong + "x", TOKEN):
        for form in forms(secret):
            assert form.decode() not in said


def test_the_copies_are_their_owners_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    old = os.umask(0)
    try:
        monkeypatch.chdir(tmp_path)
        assert main(["init", "p"]) == 0
        monkeypatch.chdir(tmp_path / "p")
        assert main(["status"]) == 0
        assert main(["backup", "copy.db"]) == 0
        assert main(["restore", "copy.db", "--yes"]) in (0, 2)
    finally:
        os.umask(old)
    for name in ("secret.key", "whoelse.db", "copy.db"):
        assert stat.S_IMODE((tmp_path / "p" / name).stat().st_mode) == 0o600, name


# --- what a spreadsheet would run ------------------------------------------------------------------------------------


def test_every_table_that_a_command_writes_goes_that_way() -> None:
    """The guard against formulas is in one place, and tried in test_import.py."""
    writers = [file.name for file in (Path(__file__).parents[1] / "engine").rglob("*.py") if re.search(r"csv\.(writer|DictWriter)", file.read_text())
               and file.parent.name != "bench"]  # fmt: skip
    assert writers == ["sheets.py"]


# --- a full disk, a broken file --------------------------------------------------------------------------------------


def pass_of_the_daemon(folder: Path, bytes_max: int = resource.RLIM_INFINITY) -> str:
    return crash.said(crash.one_pass, folder, bytes_max)


@pytest.fixture
def one_due(tmp_path: Path) -> Iterator[tuple[Path, crash.Accepting]]:
    """A project whose one email is due, and a server that accepts it."""
    with crash.accepting() as server:
        box = crash.MAILBOX.format(rep=SAM, smtp=server.port, imap=1, sent="append")
        (tmp_path / "config.yaml").write_text(crash.CONFIG.format(store="whoelse.db") + box)
        for name, text in (("sequences/one.yaml", SEQUENCE), ("templates/one.md", TEMPLATE)):
            (tmp_path / name).parent.mkdir()
            (tmp_path / name).write_text(text)
        create_key(tmp_path / "secret.key")
        environ = {"REP_PASSWORD": "x" * 12}
        inst = open_installation(load_config(tmp_path / "config.yaml", environ), environ, datetime.now(UTC), print)
        wish = Wish(DANA, "one", {}, SAM, contact={"name": "Dana Whitfield"})
        assert isinstance(enroll(inst, wish, datetime.now(UTC) - timedelta(seconds=5)), Enrollment)
        inst.store.close()
        yield tmp_path, server


def outbox(folder: Path) -> list[OutboxMessage]:
    environ = {"REP_PASSWORD": "x" * 12}
    inst = open_installation(load_config(folder / "config.yaml", environ), environ, datetime.now(UTC), print)
    try:
        return [row for state in OutboxState for row in inst.store.outbox_in(state)]
    finally:
        inst.store.close()


@pytest.mark.parametrize("room", [1, 33, 41, 45, 49, 53, 57, 61, 65, 73, 81, 89, 97, 105, 113, 140, 180])
def test_a_disk_that_fills_up_anywhere_sends_nothing_twice_and_goes_on_when_there_is_room(
    one_due: Any, room: int
) -> None:
    """Somewhere between the first write and the last: the email has not left, or it has and nobody sends it again."""
    folder, server = one_due
    said = pass_of_the_daemon(folder, room * 1024)
    accepted = len(server.accepted)
    if not accepted:
        assert re.search("disk|full|I/O|too large|cannot be (used|kept)", said), said
    assert "Traceback" not in said, said
    (row,) = outbox(folder) or [None]
    if accepted:
        assert row and row.state in (OutboxState.DATA_STARTED, OutboxState.IN_DOUBT, OutboxState.SENT)
    else:
        assert row is None or row.state in (OutboxState.QUEUED, OutboxState.CLAIMED, OutboxState.DATA_STARTED)
    pass_of_the_daemon(folder)
    held = row is not None and row.state in (
        OutboxState.CLAIMED,
        OutboxState.DATA_STARTED,
    )  # until its deadline has passed
    assert len(server.accepted) == 1 or (held and not server.accepted)


def test_a_message_that_comes_while_the_disk_is_full_waits_and_is_not_set_aside() -> None:
    """It was no fault of the message: it is read again, by however many tries, when it can be kept."""
    diary, tries = Diary(), itertools.count()

    def keep(_: object) -> None:
        if next(tries) < 4:
            raise imap.Unreadable("what was read cannot be kept: database or disk is full")

    diary.receive = keep
    with stub() as server, watching(diary, retry_seconds_max=0.05) as watcher:
        watcher.add("rep", server.account())
        assert watcher.read_now("rep").result(20)
        server.mail.update({1: letter("one"), 2: letter("two")})
        watcher.read_now("rep").result(20)
        diary.until_mail("one", "two")
    assert diary.aside == []
    assert diary.names() == ["one", "two"]
    assert "disk is full" in diary.downs[0][1]


@pytest.mark.parametrize(("begin", "end", "remedy"), [
    (0, 100, "the file is something else: name another"),
    (200, 4096, "whoelse restore FILE puts a backup in its place"),
    (4096, 8 * 4096, "whoelse restore FILE puts a backup in its place"),
    (5 * 4096, 6 * 4096, "whoelse restore FILE puts a backup in its place"),
    (10 * 4096, 10**9, "whoelse restore FILE puts a backup in its place"),
])  # fmt: skip
def test_a_damaged_store_is_told_with_the_remedy_and_sends_nothing(
    one_due: Any, begin: int, end: int, remedy: str
) -> None:
    folder, server = one_due
    store = folder / "whoelse.db"
    whole = store.read_bytes()
    end = min(end, len(whole))
    store.write_bytes(whole[:begin] + b"\xa5" * (end - begin) + whole[end:])
    said = pass_of_the_daemon(folder)
    assert remedy in said, said
    assert "Traceback" not in said, said
    assert server.accepted == []


@pytest.mark.parametrize(
    ("deed", "said"),
    [
        ("while True: pass", "checking takes more than 1 s of processor time"),
        ("bytearray(3 << 30)", "checking takes more than 2048 MB"),
    ],
)
def test_check_ends_whatever_it_is_given(deed: str, said: str) -> None:
    program = (
        "import sys\nfrom engine.__main__ import main\nfrom engine.cli import setup\n"
        f"def checked(path):\n    {deed}\nsetup._checked, setup.CHECK_SECONDS_MAX = checked, 1\nsys.exit(main(['check']))\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert said in done.stderr and "Traceback" not in done.stderr
