"""SMTP over real sockets: Postfix for what a server does on a good day, a scripted server for every way to fail.

The scripted server keeps what it accepted, so that "nothing was sent" and "it was sent once" are facts and not beliefs."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
import servers
from conftest import CLIENT, REP, USERS
from scripted import Line, scripted

from engine.account import Account, objection
from engine.smtp import (
    SMTP_ANSWER_TIMEOUT_SECONDS,
    Accepted,
    Cancelled,
    Deferred,
    InDoubt,
    LoginRefused,
    Phase,
    Refused,
    Result,
    Session,
    Timeouts,
    Unreachable,
    check,
    verdict,
)

RAW = b"From: rep@demo.test\r\nSubject: who else?\r\nMessage-ID: <one@demo.test>\r\n\r\nHello\r\n"
PASSWORD = "rep-secret"
QUICK = Timeouts(connect=0.5, command=0.5, answer=0.5, probe=0.5)


class Gate:
    """A before_body that remembers how often it was asked."""

    def __init__(self, answer: bool = True) -> None:
        self.answer, self.asked = answer, 0

    async def __call__(self) -> bool:
        self.asked += 1
        return self.answer


# --- a scripted server ---

#: What every scripted server offers besides, in the test at hand.
ALSO_OFFERED: list[str] = []


@pytest.fixture(params=["one by one", "at once"])
def said(request: pytest.FixtureRequest) -> Iterator[None]:
    """Sender, recipient and DATA in three round trips, or in one (RFC 2920)."""
    ALSO_OFFERED.extend(["PIPELINING"] if request.param == "at once" else [])
    yield
    ALSO_OFFERED.clear()


both_ways = pytest.mark.usefixtures("said")


@dataclass
class Script:
    """What a scripted server does: its answer in each phase, or "drop", "hang", "garbage". It keeps what it took and heard."""

    answers: dict[str, str] = field(default_factory=dict)
    capabilities: tuple[str, ...] = ("8BITMIME", "AUTH PLAIN LOGIN")
    port: int = 0
    connections: int = 0
    heard: list[str] = field(default_factory=list)
    body_lines: int = 0
    accepted: list[bytes] = field(default_factory=list)
    named: bool = False

    def account(self, **changes: object) -> Account:
        return replace(Account("127.0.0.1", self.port, "none", REP, lambda: PASSWORD), **changes)  # type: ignore[arg-type]

    def talk(self, line: Line) -> None:
        self.connections += 1
        self._reply(line, "greeting", "220 ready")
        while True:
            command = line.hear().decode()
            self.heard.append(command)
            verb = command.partition(" ")[0].upper()
            match verb:
                case "EHLO":
                    lines = ["demo", *self.capabilities, *ALSO_OFFERED]
                    usual = "\r\n".join(f"250{'-' if i < len(lines) - 1 else ' '}{c}" for i, c in enumerate(lines))
                    self._reply(line, "ehlo", usual)
                case "AUTH":
                    self._reply(line, "auth", "235 2.7.0 welcome")
                case "DATA":
                    usual = "354 go on" if self.named else "503 5.5.1 no recipient"
                    if self._reply(line, "data", usual).startswith("354"):
                        self._take(line)
                case "QUIT":
                    line.say("221 bye")
                    return
                case _:
                    said = self._reply(line, verb.lower(), "250 2.1.0 fine")
                    self.named = verb == "RCPT" and said.startswith("250")

    def _take(self, line: Line) -> None:
        body = b""
        while not (body == b".\r\n" or body.endswith(b"\r\n.\r\n")):
            body += line.hear() + b"\r\n"
            self.body_lines += 1
            if self.answers.get("body") == "drop in the middle":
                raise ConnectionResetError
        if self._fate("body") in ("", "drop", "garbage", "hang") or self._fate("body").startswith("2"):
            self.accepted.append(body)  # taken: whatever becomes of the answer
        self._reply(line, "body", "250 2.0.0 queued")

    def _fate(self, phase: str) -> str:
        return self.answers.get(phase, "")

    def _reply(self, line: Line, phase: str, usual: str) -> str:
        answer = self._fate(phase) or usual
        match answer:
            case "drop":
                raise ConnectionResetError
            case "hang":
                line.hear()  # until the client goes
                raise ConnectionResetError
            case "garbage":
                line.say("what is it that you want of me?")
            case _:
                line.say(answer)
        return answer


@contextlib.contextmanager
def failing(**answers: str) -> Iterator[Script]:
    script = Script(answers)
    with scripted(script.talk) as script.port:
        yield script


@contextlib.asynccontextmanager
async def session(account: Account, timeouts: Timeouts = QUICK) -> AsyncIterator[Session]:
    one = Session(account, timeouts=timeouts)
    try:
        yield one
    finally:
        await one.close()


async def deliver(account: Account, gate: Gate | None = None, raw: bytes = RAW) -> Result:
    async with session(account) as smtp:
        return await smtp.deliver(REP, CLIENT, raw, before_body=gate or Gate())


async def until(condition: Callable[[], bool]) -> None:
    while not condition():  # noqa: ASYNC110 - what is awaited happens in another thread or library
        await asyncio.sleep(0.001)


# --- the fault matrix ---

BEFORE = ["greeting", "ehlo", "auth", "mail", "rcpt", "data"]


@both_ways
@pytest.mark.parametrize("fault", ["drop", "hang", "garbage"])
@pytest.mark.parametrize("phase", BEFORE)
async def test_a_connection_that_fails_before_the_body_has_sent_nothing(phase: str, fault: str) -> None:
    gate = Gate()
    with failing(**{phase: fault}) as server:
        result = await deliver(server.account(), gate)
    assert isinstance(result, Unreachable), result
    assert (gate.asked, server.accepted) == (0, [])


@pytest.mark.parametrize("fault", ["drop", "hang", "garbage", "354 still waiting", "199 hm"])
async def test_an_answer_that_is_lost_after_the_body_is_a_doubt(fault: str) -> None:
    gate = Gate()
    with failing(body=fault) as server:
        result = await deliver(server.account(), gate)
    assert isinstance(result, InDoubt), result
    assert gate.asked == 1


async def test_a_connection_lost_in_the_middle_of_the_body_is_a_doubt() -> None:
    with failing(body="drop in the middle") as server:
        assert isinstance(await deliver(server.account(), raw=RAW + b"x" * 5_000_000), InDoubt)
    assert server.accepted == []


@both_ways
@pytest.mark.parametrize("phase", ["mail", "rcpt", "data", "body"])
async def test_a_4xx_puts_the_message_off_in_every_phase(phase: str) -> None:
    with failing(**{phase: "450 4.2.0 come back later"}) as server:
        result = await deliver(server.account())
    assert result == Deferred(450, "4.2.0 come back later", account=False)
    assert server.accepted == []


@both_ways
@pytest.mark.parametrize("phase", ["mail", "rcpt", "data", "body"])
async def test_a_5xx_refuses_the_message_in_every_phase(phase: str) -> None:
    with failing(**{phase: "554 5.7.1 we do not want this"}) as server:
        result = await deliver(server.account())
    assert result == Refused(554, "5.7.1 we do not want this", "5.7.1", "message")
    assert server.accepted == []


@pytest.mark.parametrize("phase", ["greeting", "auth"])
async def test_a_server_that_is_busy_at_the_door_lets_the_account_rest(phase: str) -> None:
    with failing(**{phase: "421 4.3.2 too many connections"}) as server:
        result = await deliver(server.account())
    assert isinstance(result, Deferred) and result.account


@pytest.mark.parametrize("code", [530, 534, 535, 538])
async def test_a_refused_login_is_told_at_once_and_tried_once(code: int) -> None:
    with failing(auth=f"{code} 5.7.8 no") as server:
        result = await deliver(server.account())
    assert isinstance(result, LoginRefused) and REP in result.text and str(code) in result.text
    assert [line.split()[1] for line in server.heard if line.startswith("AUTH")] == ["PLAIN"]


async def test_a_connection_that_dies_between_354_and_the_body_has_sent_nothing() -> None:
    """The server goes while before_body commits to the store: the body is not written, so this is no doubt."""

    def talk(line: Line) -> None:
        for reply in ("220 ready", "250-demo\r\n250 AUTH PLAIN", "235 ok", "250 ok", "250 ok", "354 go on"):
            line.say(reply)
            if not reply.startswith("354"):
                line.hear()

    with scripted(talk) as port:
        async with session(Account("127.0.0.1", port, "none", REP, lambda: PASSWORD)) as smtp:

            async def until_it_is_gone() -> bool:
                asked.append(True)
                await until(lambda: smtp._smtp is None or not smtp._smtp.is_connected)
                return True

            asked: list[bool] = []
            result = await smtp.deliver(REP, CLIENT, RAW, before_body=until_it_is_gone)
    assert isinstance(result, Unreachable) and asked, result


# --- the gate before the body ---


@both_ways
async def test_no_body_leaves_when_the_gate_says_no() -> None:
    with failing() as server:
        async with session(server.account()) as smtp:
            assert await smtp.deliver(REP, CLIENT, RAW, before_body=Gate(False)) == Cancelled()
            assert await smtp.deliver(REP, CLIENT, RAW, before_body=Gate()) == Accepted("2.0.0 queued")
    assert (len(server.accepted), server.connections) == (1, 2)  # the first connection was given up
    assert server.body_lines == len(RAW.splitlines()) + 1


@both_ways
async def test_no_body_leaves_when_the_gate_fails() -> None:
    async def broken() -> bool:
        raise RuntimeError("the store is gone")

    with failing() as server:
        async with session(server.account()) as smtp:
            with pytest.raises(RuntimeError, match="the store is gone"):
                await smtp.deliver(REP, CLIENT, RAW, before_body=broken)
    assert server.accepted == []


@both_ways
async def test_a_delivery_that_is_cancelled_leaves_no_connection_out_of_step() -> None:
    with failing(body="hang") as server:
        async with session(server.account(), Timeouts()) as smtp:
            gate = Gate()
            task = asyncio.create_task(smtp.deliver(REP, CLIENT, RAW, before_body=gate))
            await until(lambda: bool(server.accepted))
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            server.answers.clear()
            assert isinstance(await smtp.deliver(REP, CLIENT, RAW, before_body=gate), Accepted)
    assert server.connections == 2


# --- the kept connection ---


@both_ways
async def test_one_connection_carries_many_messages() -> None:
    with failing() as server:
        async with session(server.account()) as smtp:
            for _ in range(5):
                assert isinstance(await smtp.deliver(REP, CLIENT, RAW, before_body=Gate()), Accepted)
    assert (server.connections, len(server.accepted)) == (1, 5)


async def test_messages_given_at_the_same_time_go_one_after_the_other() -> None:
    with failing() as server:
        async with session(server.account()) as smtp:
            results = await asyncio.gather(*(smtp.deliver(REP, CLIENT, RAW, before_body=Gate()) for _ in range(5)))
    assert {type(result) for result in results} == {Accepted}
    assert (len(server.accepted), server.connections) == (5, 1)


@pytest.mark.parametrize("fault", ["drop", "hang", "421 4.4.2 idle for too long"])
async def test_a_kept_connection_that_was_dropped_meanwhile_is_made_anew(fault: str) -> None:
    with failing() as server:
        async with session(server.account()) as smtp:
            assert isinstance(await smtp.deliver(REP, CLIENT, RAW, before_body=Gate()), Accepted)
            server.answers["rset"] = fault
            smtp._fresh_until = 0.0  # as if it had rested for a while
            gate = Gate()
            assert isinstance(await smtp.deliver(REP, CLIENT, RAW, before_body=gate), Accepted)
    assert (gate.asked, server.connections, len(server.accepted)) == (1, 2, 2)


@both_ways
async def test_a_refused_recipient_leaves_the_connection_ready_for_the_next() -> None:
    with failing(rcpt="550 5.1.1 nobody") as server:
        async with session(server.account()) as smtp:
            assert isinstance(await smtp.deliver(REP, CLIENT, RAW, before_body=Gate()), Refused)
            server.answers.clear()
            assert isinstance(await smtp.deliver(REP, CLIENT, RAW, before_body=Gate()), Accepted)
    assert server.connections == 1 and "RSET" in server.heard


async def test_a_server_that_opens_the_body_for_a_refused_recipient_gets_none() -> None:
    with failing(rcpt="550 5.1.1 nobody", data="354 go on") as server:
        server.capabilities += ("PIPELINING",)
        async with session(server.account()) as smtp:
            gate = Gate()
            refused = await smtp.deliver(REP, CLIENT, RAW, before_body=gate)
            assert isinstance(refused, Refused) and refused.scope == "address"
            assert (gate.asked, server.body_lines) == (0, 0)
            server.answers.clear()
            assert isinstance(await smtp.deliver(REP, CLIENT, RAW, before_body=gate), Accepted)
    assert (len(server.accepted), server.connections) == (1, 2)


async def test_a_server_that_leaves_after_its_first_answers_is_believed_in_those() -> None:
    def talk(line: Line) -> None:
        line.say("220 ready")
        line.hear()
        line.say("250-demo\r\n250 PIPELINING")
        line.hear()
        line.say("421-4.3.2 too many\r\n421 4.3.2 messages")

    with scripted(talk) as port:
        result = await deliver(Account("127.0.0.1", port, "none", "", lambda: ""))
    assert isinstance(result, Deferred) and (result.code, result.text) == (421, "4.3.2 too many 4.3.2 messages")


def test_the_answer_to_the_body_is_awaited_for_ten_minutes() -> None:
    assert Timeouts().answer == SMTP_ANSWER_TIMEOUT_SECONDS == 600


# --- what answers mean ---


@pytest.mark.parametrize(
    ("code", "text"),
    [
        (421, "4.7.0 Temporary System Problem. Try again later"),
        (421, "4.7.28 Our system has detected an unusual rate of mail"),
        (450, "4.2.1 Peak SMTP relay limit exceeded for this customer"),
        (454, "4.7.0 Too many login attempts, please try again later."),
        (550, "5.4.5 Daily user sending limit exceeded."),
        (432, "4.3.2 STOREDRV.ClientSubmit; sender thread limit exceeded"),
        (554, "5.2.0 STOREDRV.Submission.Exception:SubmissionQuotaExceededException"),
        (550, "5.1.90 Your message can't be sent: you've reached your daily limit for message recipients"),
    ],
)
@pytest.mark.parametrize("phase", [Phase.MAIL, Phase.RCPT, Phase.DATA, Phase.BODY])
def test_a_limit_of_the_provider_rests_the_account_and_blames_no_message(phase: Phase, code: int, text: str) -> None:
    assert verdict(phase, code, text) == Deferred(code, text, account=True)


def test_a_recipient_who_gets_mail_too_fast_is_no_limit_of_the_account() -> None:
    said = "4.2.1 The user you are trying to contact is receiving mail at a rate that prevents additional messages"
    assert verdict(Phase.RCPT, 450, said) == Deferred(450, said, account=False)


@pytest.mark.parametrize(
    ("phase", "code", "text", "scope"),
    [
        (Phase.RCPT, 550, "5.1.1 no such user", "address"),
        (Phase.RCPT, 550, "5.1.2 bad destination system", "address"),
        (Phase.RCPT, 550, "5.1.10 RESOLVER.ADR.RecipientNotFound", "address"),
        (Phase.BODY, 550, "5.1.1 no such user", "address"),
        (Phase.RCPT, 550, "No such user here", "address"),
        (Phase.RCPT, 550, "5.2.1 The email account that you tried to reach is disabled", "address"),
        (Phase.RCPT, 556, "5.1.10 Recipient address has null MX", "address"),
        (Phase.RCPT, 550, "Benutzer unbekannt", "address"),
        (Phase.RCPT, 550, "5.1.1 mailbox is full", "message"),
        (Phase.BODY, 554, "5.7.1 spam: it says no such user", "message"),
        (Phase.RCPT, 550, "5.7.1 relaying denied", "message"),
        (Phase.RCPT, 550, "mailbox unavailable", "message"),
        (Phase.RCPT, 552, "5.2.2 mailbox full", "message"),
        (Phase.RCPT, 550, "5.1.8 bad sender's system address", "message"),
        (Phase.MAIL, 550, "5.1.1 sender unknown", "message"),
        (Phase.BODY, 554, "user unknown or spam, who knows", "message"),
        (Phase.BODY, 535, "odd but final", "message"),
    ],
)
def test_only_a_dead_address_is_refused_for_good(phase: Phase, code: int, text: str, scope: str) -> None:
    result = verdict(phase, code, text)
    assert isinstance(result, Refused) and result.scope == scope, result


def test_what_a_server_says_is_one_clean_line() -> None:
    result = verdict(Phase.RCPT, 450, "4.7.1 caf\udce9\nsecond \x1b[31mline\n" + "x" * 1000)
    assert isinstance(result, Deferred) and result.text.startswith("4.7.1 caf\ufffd second [31mline x")
    assert len(result.text) == 500


# --- secrets ---


async def test_the_password_is_in_no_text_even_if_the_server_repeats_it() -> None:
    encoded = base64.b64encode(PASSWORD.encode()).decode()
    with failing(auth=f"535 5.7.8 {PASSWORD} ({encoded}) is wrong") as server:
        result = await deliver(server.account())
    assert PASSWORD not in repr(result) and encoded not in repr(result)
    assert PASSWORD not in repr(server.account())


@pytest.mark.parametrize("secret", ["", "two\nlines"])
async def test_a_password_that_cannot_be_one_is_not_sent(secret: str) -> None:
    with failing() as server:
        result = await deliver(server.account(secret=lambda: secret))
    assert isinstance(result, LoginRefused) and server.connections <= 1 and not any("AUTH" in h for h in server.heard)


async def test_a_password_that_cannot_be_read_rests_the_account_with_the_reason() -> None:
    def locked() -> str:
        raise OSError("the keyring is locked")

    with failing() as server:
        result = await deliver(server.account(secret=locked))
    assert isinstance(result, LoginRefused) and "the keyring is locked" in result.text


def test_a_password_never_travels_in_the_clear_beyond_this_machine() -> None:
    account = Account("mail.example.com", 25, "none", REP, lambda: PASSWORD)
    assert "only" in (objection(account) or "") and objection(replace(account, security="tls")) is None
    for here in ("localhost", "127.0.0.1", "::1"):
        assert objection(replace(account, host=here)) is None


async def test_an_account_that_would_show_its_password_is_never_connected_to() -> None:
    account = Account("192.0.2.1", 25, "none", REP, lambda: pytest.fail("the password was asked for"))
    assert isinstance(await deliver(account), Unreachable)
    assert "in the clear" in (await check(account) or "")


async def test_a_token_is_sent_as_xoauth2_and_asked_for_at_each_connect() -> None:
    tokens = iter(["first", "second"])
    with failing() as server:
        server.capabilities = ("AUTH XOAUTH2 PLAIN",)
        account = server.account(oauth=True, secret=lambda: next(tokens))
        assert [type(await deliver(account)) for _ in range(2)] == [Accepted, Accepted]
    sent = [base64.b64decode(line.split()[2]) for line in server.heard if line.startswith("AUTH XOAUTH2")]
    assert sent == [f"user={REP}\1auth=Bearer {token}\1\1".encode() for token in ("first", "second")]


async def test_a_refused_token_is_a_refused_login() -> None:
    def talk(line: Line) -> None:
        for reply in (
            "220 ready",
            "250-demo\r\n250 AUTH XOAUTH2",
            "334 eyJzdGF0dXMiOiI0MDEifQ==",
            "535 5.7.8 bad token",
        ):
            line.say(reply)
            line.hear()

    with scripted(talk) as port:
        result = await deliver(Account("127.0.0.1", port, "none", REP, lambda: "token", oauth=True))
    assert isinstance(result, LoginRefused) and "renew the access token" in result.text


async def test_the_greeting_does_not_tell_the_name_of_this_machine() -> None:
    with failing() as server:
        await deliver(server.account())
    assert server.heard[0] == "EHLO demo.test"


async def test_an_address_beyond_ascii_needs_a_server_that_takes_it() -> None:
    with failing() as server:
        async with session(server.account()) as smtp:
            result = await smtp.deliver(REP, "jürgen@acme.test", RAW, before_body=Gate())
            assert isinstance(result, Refused) and result.scope == "message"
        server.capabilities = ("SMTPUTF8", "8BITMIME", "AUTH PLAIN")
        async with session(server.account()) as smtp:
            assert isinstance(await smtp.deliver(REP, "jürgen@acme.test", RAW, before_body=Gate()), Accepted)
    assert "RCPT TO:<jürgen@acme.test>" in server.heard
    assert any(line.startswith("MAIL") and "SMTPUTF8" in line for line in server.heard)


# --- real Postfix ---


def rep(postfix: servers.Postfix, **changes: object) -> Account:
    account = Account("localhost", postfix.submission_port, "starttls", REP, lambda: USERS[REP], cafile=postfix.cafile)
    return replace(account, **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize("security", ["starttls", "tls"])
async def test_a_message_reaches_the_clients_mailbox_with_its_bytes_unchanged(
    postfix: servers.Postfix, dovecot: servers.Dovecot, security: str
) -> None:
    raw = RAW.replace(b"one@", security.encode() + b"@") + b".one dot\n..\r\n.\r\nlast line without an end"
    port = postfix.submission_port if security == "starttls" else postfix.smtps_port
    async with session(rep(postfix, port=port, security=security), Timeouts()) as smtp:
        assert isinstance(await smtp.deliver(REP, CLIENT, raw, before_body=Gate()), Accepted)
    arrived = await asyncio.to_thread(arrives, dovecot, CLIENT, security.encode() + b"@demo.test")
    assert arrived.endswith(b"Hello\r\n.one dot\r\n..\r\n.\r\nlast line without an end\r\n")


def arrives(dovecot: servers.Dovecot, user: str, part: bytes) -> bytes:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        for message in dovecot.messages(user):
            if part in message:
                return message
        time.sleep(0.02)
    raise AssertionError(f"nothing with {part!r} arrived for {user}")


async def test_an_unknown_recipient_is_refused_and_the_next_message_still_goes(postfix: servers.Postfix) -> None:
    async with session(rep(postfix), Timeouts()) as smtp:
        gate = Gate()
        refused = await smtp.deliver(REP, "nobody@acme.test", RAW, before_body=gate)
        assert isinstance(refused, Refused)
        assert (refused.code, refused.enhanced, refused.scope, gate.asked) == (550, "5.1.1", "address", 0)
        assert isinstance(await smtp.deliver(REP, CLIENT, RAW, before_body=gate), Accepted)


async def test_a_copy_in_bcc_arrives_and_one_that_is_refused_stops_nothing(
    postfix: servers.Postfix, dovecot: servers.Dovecot
) -> None:
    raw = RAW.replace(b"one@", b"copied@")
    async with session(rep(postfix), Timeouts()) as smtp:
        bcc = ("nobody@acme.test", "lee@acme.test")
        result = await smtp.deliver(REP, CLIENT, raw, before_body=Gate(), bcc=bcc)
        assert isinstance(result, Accepted)
        assert [(m.address, m.dead, m.text[:9]) for m in result.missed] == [("nobody@acme.test", True, "550 5.1.1")]
    for who in (CLIENT, "lee@acme.test"):
        await asyncio.to_thread(arrives, dovecot, who, b"copied@demo.test")


async def test_where_the_recipient_is_refused_no_copy_is_sent() -> None:
    gate = Gate()
    with failing(rcpt="550 5.1.1 no such user") as server:
        async with session(server.account()) as smtp:
            refused = await smtp.deliver(REP, CLIENT, RAW, before_body=gate, bcc=("lee@acme.test",))
        assert isinstance(refused, Refused) and refused.scope == "address"
    assert (gate.asked, server.accepted) == (0, [])


@pytest.mark.parametrize("phase", ["data", "body"])
async def test_a_refusal_of_the_whole_message_blames_no_one_of_several(phase: str) -> None:
    with failing(**{phase: "550 5.1.1 no such user"}) as server:
        async with session(server.account()) as smtp:
            refused = await smtp.deliver(REP, CLIENT, RAW, before_body=Gate(), bcc=("lee@acme.test",))
    assert isinstance(refused, Refused) and refused.scope == "message"


async def test_a_greylisted_message_goes_at_the_second_try(postfix: servers.Postfix) -> None:
    postfix.greylist("lee@acme.test")
    async with session(rep(postfix), Timeouts()) as smtp:
        first = await smtp.deliver(REP, "lee@acme.test", RAW, before_body=Gate())
        assert isinstance(first, Deferred) and (first.code, first.account) == (451, False)
        assert isinstance(await smtp.deliver(REP, "lee@acme.test", RAW, before_body=Gate()), Accepted)


async def test_a_limit_at_a_real_server_rests_the_account(postfix: servers.Postfix) -> None:
    postfix.answer("lee@acme.test", "550 5.4.5 Daily user sending limit exceeded")
    async with session(rep(postfix), Timeouts()) as smtp:
        result = await smtp.deliver(REP, "lee@acme.test", RAW, before_body=Gate())
    assert isinstance(result, Deferred) and result.account


async def test_a_session_outlives_a_restart_of_the_server(postfix: servers.Postfix) -> None:
    async with session(rep(postfix), Timeouts()) as smtp:
        assert isinstance(await smtp.deliver(REP, CLIENT, RAW, before_body=Gate()), Accepted)
        await asyncio.to_thread(postfix.restart)
        assert isinstance(await smtp.deliver(REP, CLIENT, RAW, before_body=Gate()), Accepted)


async def test_no_body_reaches_a_real_server_when_the_gate_says_no(
    postfix: servers.Postfix, dovecot: servers.Dovecot
) -> None:
    async with session(rep(postfix), Timeouts()) as smtp:
        held = RAW.replace(b"one@", b"held@")
        assert await smtp.deliver(REP, CLIENT, held, before_body=Gate(False)) == Cancelled()
        assert isinstance(
            await smtp.deliver(REP, CLIENT, RAW.replace(b"one@", b"later@"), before_body=Gate()), Accepted
        )
    await asyncio.to_thread(arrives, dovecot, CLIENT, b"later@demo.test")
    assert not any(b"held@demo.test" in message for message in dovecot.messages(CLIENT))


async def test_a_working_account_checks_out(postfix: servers.Postfix) -> None:
    assert await check(rep(postfix)) is None


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"secret": lambda: "wrong"}, "refused the login of rep@demo.test"),
        ({"cafile": ""}, "certificate that cannot be trusted"),
        ({"cafile": "/nowhere/ca.pem"}, "`cafile: /nowhere/ca.pem` cannot be read"),
        ({"security": "tls"}, "use `security: starttls`"),
        ({"port": 1}, "nothing listens there"),
        ({"host": "no-such-host.invalid"}, "check the host name"),
        ({"security": "none"}, "no login"),
    ],
)
async def test_a_wrong_account_is_explained(postfix: servers.Postfix, changes: dict[str, object], words: str) -> None:
    said = await check(rep(postfix, **changes), timeouts=Timeouts(connect=10))
    assert said is not None and words in said, said
    assert PASSWORD not in said


async def test_a_certificate_for_another_host_is_explained(tmp_path: Path) -> None:
    tls = servers.certificates(tmp_path, "DNS:mail.other.test")
    with scripted(lambda line: line.say("220 ready"), tls.context()) as port:
        said = await check(Account("127.0.0.1", port, "tls", REP, lambda: PASSWORD, cafile=tls.cafile))
    assert said is not None and "use the host name that its certificate is made for" in said, said
