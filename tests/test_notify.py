"""Telling a program or an address: over a real socket, with a real process, and with every way to fail."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from engine import notify
from engine.config import Alerts, Password, Webhook
from engine.core.model import Alert

NOW = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)
FACTS = json.dumps({"event": "introduced", "prospect": {"name": "Jürgen Ünal"}}, ensure_ascii=False)
SECRET = "a secret of 32 characters, at least"


def alert(kind: str) -> Alert:
    return Alert(f"r1 {kind}", "sam@demo.test", kind, FACTS, NOW, 1)


class Heard(HTTPServer):
    """What was posted, and what is answered."""

    answer = 200
    posts: list[tuple[str, dict[str, str], bytes]]


class Handler(BaseHTTPRequestHandler):
    server: Heard

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.posts.append((self.path, {k.lower(): v for k, v in self.headers.items()}, body))
        if self.server.answer == 0:
            return  # hangs up
        self.send_response(self.server.answer)
        self.send_header("Location", "/elsewhere")
        self.end_headers()

    def log_message(self, *args: object) -> None:
        pass


@contextmanager
def address(answer: int = 200) -> Iterator[Heard]:
    server = Heard(("127.0.0.1", 0), Handler)
    server.answer, server.posts = answer, []
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()


def webhook(server: HTTPServer) -> Alerts:
    return Alerts(webhook=Webhook(f"http://127.0.0.1:{server.server_port}/hook?a=b", Password("env", "HOOK")))


async def test_a_post_carries_the_facts_and_a_signature_that_can_be_checked() -> None:
    with address() as server:
        assert await notify.tell(webhook(server), alert("webhook"), NOW, {"HOOK": SECRET}) is None
    ((path, headers, body),) = server.posts
    assert (path, json.loads(body)) == ("/hook?a=b", json.loads(FACTS))
    signed = b".".join((headers["webhook-id"].encode(), headers["webhook-timestamp"].encode(), body))
    digest = base64.b64encode(hmac.digest(SECRET.encode(), signed, hashlib.sha256)).decode()
    assert headers["webhook-signature"] == f"v1,{digest}"
    assert (headers["webhook-id"], headers["webhook-timestamp"]) == ("r1", str(int(NOW.timestamp())))
    assert SECRET.encode() not in body


def test_the_signature_is_that_of_the_specification() -> None:
    """The example of the specification's reference libraries."""
    secret = b"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
    at = datetime.fromtimestamp(1614265330, UTC)
    made = notify.headers("msg_p5jXN8AQM9LWM0D4loKWxJek", b'{"test": 2432232314}', secret, at)
    assert made["webhook-signature"] == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


@pytest.mark.parametrize(("answer", "said"), [(500, "answered 500"), (302, "answered 302"), (0, "cannot be told")])
async def test_whatever_the_other_does_is_a_sentence(answer: int, said: str) -> None:
    with address(answer) as server:
        why = await notify.tell(webhook(server), alert("webhook"), NOW, {"HOOK": SECRET})
        assert why and said in why
        assert len(server.posts) == 1, "a redirect is not followed"


async def test_nobody_there_and_no_secret_are_sentences() -> None:
    with address() as server:
        gone = webhook(server)
    assert "cannot be told" in str(await notify.tell(gone, alert("webhook"), NOW, {"HOOK": SECRET}))
    assert "HOOK, which is not set" in str(await notify.tell(gone, alert("webhook"), NOW, {}))


async def test_a_program_gets_the_facts_and_none_of_our_secrets(tmp_path: Path) -> None:
    out = tmp_path / "out"
    code = "import sys, os, json; json.dump([sys.stdin.read(), dict(os.environ)], open(sys.argv[1], 'w'))"
    how = Alerts(command=(sys.executable, "-c", code, str(out)))
    environ = {"PATH": "/bin", "REP_PASSWORD": "secret", "WHOELSE_SECRET": "key", "HOME": "/home/sam"}
    assert await notify.tell(how, alert("command"), NOW, environ) is None
    facts, seen = json.loads(out.read_text())
    assert facts == FACTS
    assert {"REP_PASSWORD", "WHOELSE_SECRET"}.isdisjoint(seen) and seen["HOME"] == "/home/sam"


@pytest.mark.parametrize(
    ("command", "said"),
    [
        ((sys.executable, "-c", "raise SystemExit(3)"), "exit code 3"),
        (("/nowhere/at/all",), "cannot be started"),
        (("; touch /tmp/x",), "cannot be started"),
    ],
)
async def test_a_program_that_fails_is_a_sentence(command: tuple[str, ...], said: str) -> None:
    assert said in str(await notify.tell(Alerts(command=command), alert("command"), NOW, {}))


async def test_a_program_that_does_not_end_is_ended_with_its_children(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(notify, "TIME_SECONDS", 0.2)
    why = await notify.tell(
        Alerts(command=("sh", "-c", "sleep 600 & sleep 600")), alert("command"), NOW, {"PATH": "/bin:/usr/bin"}
    )
    assert "did not end" in str(why)


async def test_what_is_wanted_no_longer_is_done() -> None:
    assert await notify.tell(Alerts(), alert("command"), NOW, {}) is None
    assert await notify.tell(Alerts(), alert("webhook"), NOW, {}) is None
