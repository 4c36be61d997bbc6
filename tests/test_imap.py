"""One IMAP connection: getting in, saying why not, and knowing which folder is which."""

from __future__ import annotations

import base64
import socket

import pytest
import servers
from mailboxes import account, fresh, log_in
from scripted import Line, stub

from engine import imap
from engine.imap import Unreadable, by_role


@pytest.mark.parametrize("security", ["tls", "starttls", "none"])
@pytest.mark.parametrize("password", ["secret", 'a "quoted" \\ one', "pässwörd€"])
def test_every_kind_of_connection_and_password_logs_in(dovecot: servers.Dovecot, security: str, password: str) -> None:
    user = fresh(dovecot, password)
    port = dovecot.imaps_port if security == "tls" else dovecot.imap_port
    found = imap.check(account(dovecot, user, port=port, security=security))
    assert found == {"inbox": "INBOX", "junk": "Junk", "sent": "Sent", "archive": "Archive"}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"secret": lambda: "wrong"}, "refused the login of rep@demo.test: [AUTHENTICATIONFAILED]"),
        ({"secret": lambda: "wröng"}, "refused the login of rep@demo.test: [AUTHENTICATIONFAILED]"),
        ({"secret": lambda: ""}, "is empty"),
        ({"oauth": True}, "renew the access token"),
        ({"cafile": ""}, "certificate that cannot be trusted"),
        ({"cafile": "/nowhere/ca.pem"}, "`cafile: /nowhere/ca.pem` cannot be read"),
        ({"port": 1}, "nothing listens there"),
        ({"host": "no-such-host.invalid"}, "check the host name"),
        ({"host": "192.0.2.1", "security": "none"}, "in the clear"),
        ({"security": "starttls"}, "did not answer in time"),
    ],
)
def test_a_wrong_account_is_explained(dovecot: servers.Dovecot, changes: dict[str, object], words: str) -> None:
    said = imap.check(account(dovecot, "rep@demo.test", **changes), connect_seconds=2)
    assert isinstance(said, str) and words in said, said


def test_tls_on_a_port_without_it_is_explained(dovecot: servers.Dovecot) -> None:
    said = imap.check(account(dovecot, "rep@demo.test", port=dovecot.imap_port))
    assert isinstance(said, str) and "use `security: starttls`" in said


def test_a_token_is_sent_as_xoauth2() -> None:
    def log_in(line: Line, tag: str) -> bool:
        line.say("+ ")
        tokens.append(base64.b64decode(line.hear()))
        line.say(f"{tag} OK welcome")
        return True

    tokens: list[bytes] = []
    with stub(capabilities="IMAP4rev1 AUTH=XOAUTH2", hooks={"AUTHENTICATE": log_in}) as server:
        assert imap.check(server.account(oauth=True, secret=lambda: "a-token")) == {"inbox": "INBOX"}
    assert tokens == [b"user=rep\1auth=Bearer a-token\1\1"]


def test_a_refused_token_is_a_refused_login() -> None:
    def refuse(line: Line, tag: str) -> bool:
        line.say("+ ")
        line.hear()
        line.say("+ eyJzdGF0dXMiOiI0MDAifQ==")
        assert line.hear() == b""  # the client accepts the refusal
        line.say(f"{tag} NO [AUTHENTICATIONFAILED] expired")
        return True

    with (
        stub(capabilities="IMAP4rev1 AUTH=XOAUTH2", hooks={"AUTHENTICATE": refuse}) as server,
        pytest.raises(Unreadable, match="renew the access token") as raised,
    ):
        log_in(server.account(oauth=True))
    assert raised.value.login


@pytest.mark.parametrize(
    ("answer", "login"),
    [
        ("NO [AUTHENTICATIONFAILED] wrong", True),
        ("NO [ALERT] Application-specific password required", True),
        ("NO [UNAVAILABLE] try later", False),
        ("NO [ALERT] Too many simultaneous connections. (Failure)", False),
        ("", False),
    ],
)
def test_only_a_refused_login_is_called_one(answer: str, login: bool) -> None:
    def reply(line: Line, tag: str) -> bool:
        if not answer:
            raise ConnectionResetError  # lost during the login
        line.say(f"{tag} {answer}")
        return True

    with stub(hooks={"LOGIN": reply}) as server, pytest.raises(Unreadable) as raised:
        log_in(server.account())
    assert raised.value.login is login, raised.value


def test_the_password_is_in_no_text_even_if_the_server_repeats_it() -> None:
    def repeat(line: Line, tag: str) -> bool:
        line.say(f"{tag} NO secret is wrong")
        return True

    with stub(hooks={"LOGIN": repeat}) as server, pytest.raises(Unreadable) as raised:
        log_in(server.account())
    shown = [raised.value, raised.value.__cause__, raised.value.__cause__ and raised.value.__cause__.__cause__]
    assert not any("secret" in str(error) for error in shown), shown


def test_a_connection_sends_without_delay_and_notices_a_dead_peer(dovecot: servers.Dovecot) -> None:
    link = log_in(account(dovecot, fresh(dovecot)))
    try:
        sock = link._client.socket()
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 30_000
    finally:
        link.close()


@pytest.mark.parametrize(
    ("listed", "roles"),
    [
        ([("INBOX",)], {"inbox": "INBOX"}),
        ([("Sent Items", "\\Sent"), ("Sent",)], {"sent": "Sent Items"}),
        ([("[Gmail]", "\\Noselect"), ("[Gmail]/Alle Nachrichten", "\\All"), ("[Gmail]/Spam", "\\Junk"),
          ("[Gmail]/Gesendet", "\\Sent"), ("Archiv",)],
         {"all": "[Gmail]/Alle Nachrichten", "junk": "[Gmail]/Spam", "sent": "[Gmail]/Gesendet"}),
        ([("INBOX/Sent",), ("INBOX/Spam",), ("INBOX/Archive",)],
         {"sent": "INBOX/Sent", "junk": "INBOX/Spam", "archive": "INBOX/Archive"}),
        ([("Gesendete Objekte",), ("Spamverdacht",)], {"sent": "Gesendete Objekte", "junk": "Spamverdacht"}),
        ([("Éléments envoyés",), ("Courrier indésirable",)], {"sent": "Éléments envoyés", "junk": "Courrier indésirable"}),
        ([("Отправленные",), ("Спам",)], {"sent": "Отправленные", "junk": "Спам"}),
        ([("Clients/Acme/Sent",), ("Clients/Junk",)], {}),
        ([("Sent", "\\NonExistent"), ("Archive", "\\NOSELECT")], {}),
    ],
)  # fmt: skip
def test_folders_are_known_by_their_use_or_else_by_their_name(
    listed: list[tuple[str, ...]], roles: dict[str, str]
) -> None:
    rows = [([flag.encode() for flag in flags], b"/", name) for name, *flags in listed]
    assert by_role(rows) == {"inbox": "INBOX"} | roles
