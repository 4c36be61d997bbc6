"""Moments from other systems, over real sockets: what is heard, what is heard once, and every attack on the endpoint tried."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import h11
import office
import pytest
from office import BOTH, DANA, LEE, MONDAY, Office, library

from engine import endpoint, intake
from engine.clock import RealClock
from engine.config import Config, load_config
from engine.core.model import Contact
from engine.daemon import Daemon
from engine.endpoint import BODY_BYTES_MAX, CONNECTIONS_MAX, Endpoint
from engine.errors import UserError
from engine.installation import Installation
from engine.secrets import endpoint_token
from engine.store import Store, open_store

TOKEN = "t0ken-of-thirty-two-characters-or-more"
TRIGGERS = "- {moment: nps, if: 'score >= 9', start: nudge}\n- {moment: delivered, start: nudge}\n"
database = office.one_database
NPS = {"email": DANA, "moment": "nps", "score": 10}


@dataclass
class Heard:
    """An endpoint over a real store, and what has been told to it."""

    endpoint: Endpoint
    inst: Installation
    told: list[Mapping[str, Any]]

    async def ask(self, *parts: bytes, wait: float = 0) -> tuple[int, dict[str, str], Any]:
        """Sends bytes as they are, and reads what comes back to its end."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.endpoint.port)
        try:
            for part in parts:
                writer.write(part)
                await writer.drain()
                await asyncio.sleep(wait)
            async with asyncio.timeout(60):
                raw = await reader.read()
        finally:
            writer.close()
        return _read(raw)

    async def post(self, body: Any = NPS, **headers: str) -> tuple[int, dict[str, str], Any]:
        return await self.ask(request(body, **headers))


def _read(raw: bytes) -> tuple[int, dict[str, str], Any]:
    client = h11.Connection(h11.CLIENT)
    client.send(h11.Request(method="GET", target="/", headers=[("Host", "x")]))
    client.send(h11.EndOfMessage())
    client.receive_data(raw)
    client.receive_data(b"")
    head, body = None, b""
    while not isinstance(event := client.next_event(), h11.EndOfMessage | h11.ConnectionClosed):
        if isinstance(event, h11.Response):
            head = event
        elif isinstance(event, h11.Data):
            body += event.data
    assert head is not None, raw
    headers = {name.decode(): value.decode() for name, value in head.headers}
    return head.status_code, headers, json.loads(body) if body else None


def request(body: Any = NPS, line: str = "POST /moments HTTP/1.1", **headers: str) -> bytes:
    """A request as it should be, with other headers in place of its own; an empty one is left out."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    given = {
        "Host": "localhost",
        "Authorization": f"Bearer {TOKEN}",
        "Content-Type": "application/json",
        "Content-Length": str(len(data)),
        **{name.replace("_", "-"): value for name, value in headers.items()},
    }
    lines = "".join(f"{name}: {value}\r\n" for name, value in given.items() if value)
    return f"{line}\r\n{lines}\r\n".encode("latin-1") + data


@pytest.fixture
async def heard(tmp_path: Path, database: str) -> AsyncIterator[Heard]:
    store = open_store(database)
    there = Office(store, tmp_path)
    inst = replace(there.inst, library=library({"triggers": TRIGGERS}))
    store.add_contact(Contact("", DANA, name="Dana Whitfield", owner="sam@demo.test"))
    told: list[Mapping[str, Any]] = []

    async def tell(said: Mapping[str, Any], key: str) -> endpoint.Answer:
        told.append(said)
        return intake.answer(inst, said, key, there.now)

    served = Endpoint(TOKEN, frozenset({"localhost", "127.0.0.1", "crm.consulting.example"}), tell)
    await served.listen("127.0.0.1", 0)
    yield Heard(served, inst, told)
    await served.close()
    store.close()


async def until(there: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not there():  # noqa: ASYNC110  nobody tells
        assert time.monotonic() < deadline
        await asyncio.sleep(0.05)


# --- what is heard ---------------------------------------------------------------------------------------------------


@BOTH
async def test_a_moment_is_kept_and_starts_what_it_starts(heard: Heard) -> None:
    status, headers, said = await heard.post()
    assert status == 201 and (said["kept"], said["news"], said["started"]) == (True, True, ["nudge"])
    assert headers["content-type"] == "application/json" and headers["cache-control"] == "no-store"
    assert [e.sequence for e in heard.inst.store.all_enrollments()] == ["nudge"]


async def test_what_is_kept_and_starts_nothing_says_why(heard: Heard) -> None:
    status, _, said = await heard.post({**NPS, "score": 3})
    assert (status, said["started"]) == (201, []) and "if: score >= 9 is false" in said["lines"][0]


@BOTH
async def test_a_moment_that_is_told_again_does_nothing_twice(heard: Heard) -> None:
    answers = [await heard.post(), *(await asyncio.gather(*(heard.post() for _ in range(8))))]
    assert [status for status, _, _ in answers] == [201, *[200] * 8]
    assert len(heard.inst.store.all_enrollments()) == 1


@BOTH
async def test_a_key_makes_it_once_also_on_another_day_and_refuses_other_words(tmp_path: Path, heard: Heard) -> None:
    store, inst = heard.inst.store, heard.inst
    tell = lambda said, now: intake.answer(inst, said, "abc", now)
    assert tell(NPS, MONDAY)[0] == 201 and tell(NPS, MONDAY + timedelta(days=2))[0] == 200
    status, said = tell({**NPS, "score": 3}, MONDAY)
    assert status == 422 and "something else was told under this key" in said["error"]
    assert len(store.moments_of(store.contact_at(DANA).id)) == 1  # type: ignore[union-attr]
    assert (await heard.post(Idempotency_Key="abc"))[0] == 200
    store.drop_requests(MONDAY + timedelta(days=1))
    assert tell({**NPS, "score": 3}, MONDAY)[0] == 201, "after its time a key is free again"


async def test_a_refusal_keeps_no_key_and_says_what_to_do(heard: Heard) -> None:
    status, _, said = await heard.post({"email": LEE, "moment": "nps"}, Idempotency_Key="k")
    assert status == 422 and said["kept"] is False and f"nobody has the address {LEE}" in said["error"]
    status, _, said = await heard.post(
        {"email": LEE, "moment": "nps", "name": "Lee", "rep": "sam@demo.test"}, Idempotency_Key="k"
    )
    assert status == 201
    assert (await heard.post({"email": DANA, "moment": "moved"}))[2]["remedy"].startswith(
        "sequences/triggers.yaml names"
    )


async def test_health_is_told_without_a_token(heard: Heard) -> None:
    status, _, said = await heard.ask(request(b"", "GET /health HTTP/1.1", Authorization="", Content_Type=""))
    assert (status, said) == (200, {"ok": True})


async def test_a_body_may_come_in_chunks_or_wait_for_a_hundred(heard: Heard) -> None:
    data = json.dumps(NPS).encode()
    chunks = b"%x\r\n%s\r\n0\r\n\r\n" % (len(data), data)
    head = request(b"", Content_Length="", Transfer_Encoding="chunked")
    assert (await heard.ask(head, chunks))[0] == 201
    assert (await heard.ask(request(b"", Content_Length=str(len(data)), Expect="100-continue"), data))[0] == 200


# --- what is tried ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "shown",
    ["", "Bearer", "Bearer ", f"Bearer {TOKEN}x", f"Bearer {TOKEN[:-1]}", f"Basic {TOKEN}", TOKEN, f"Bearer {TOKEN.upper()}",
     "Bearer \xe4\xf6\xfc"],
)  # fmt: skip
async def test_without_the_token_nothing_is_heard(heard: Heard, caplog: pytest.LogCaptureFixture, shown: str) -> None:
    with caplog.at_level(logging.DEBUG):
        status, headers, said = await heard.post(Authorization=shown)
    assert status == 401 and headers["www-authenticate"] == "Bearer" and heard.told == []
    assert TOKEN not in caplog.text and TOKEN not in json.dumps(said)


async def test_two_tokens_are_none(heard: Heard) -> None:
    raw = request().replace(b"Authorization:", b"Authorization: Bearer x\r\nAuthorization:", 1)
    assert (await heard.ask(raw))[0] == 401


@pytest.mark.parametrize(
    "host", ["evil.example", "localhost.evil.example", "127.0.0.1.nip.example:80", "169.254.169.254", "[::2]"]
)
async def test_a_page_that_dns_led_here_is_sent_away(heard: Heard, host: str) -> None:
    assert (await heard.post(Host=host))[0] == 421
    assert (await heard.ask(request(b"", "GET /health HTTP/1.1", Host=host)))[0] == 421
    assert heard.told == []


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1:8025", "LOCALHOST:1", "crm.consulting.example"])
async def test_its_own_names_and_those_of_the_config_are_heard(heard: Heard, host: str) -> None:
    assert (await heard.post(Host=host))[0] == 201


async def test_a_request_without_a_host_or_with_two_is_none(heard: Heard) -> None:
    assert (await heard.post(Host=""))[0] == 400
    assert (await heard.ask(request().replace(b"Host:", b"Host: localhost\r\nHost:", 1)))[0] == 400
    assert (await heard.ask(request(line="POST /moments HTTP/1.0", Host="")))[0] == 421
    assert heard.told == []


async def test_no_web_page_is_spoken_to(heard: Heard) -> None:
    preflight = request(
        b"", "OPTIONS /moments HTTP/1.1", Origin="https://evil.example", Access_Control_Request_Method="POST"
    )
    for raw in (preflight, request(Origin="https://evil.example"), request(Origin="null")):
        status, headers, _ = await heard.ask(raw)
        assert status == 403 and not [name for name in headers if name.startswith("access-control")]
    assert heard.told == []


@pytest.mark.parametrize(
    "kind", ["", "text/plain", "application/x-www-form-urlencoded", "multipart/form-data", "application/jsonp"]
)
async def test_only_json_is_read(heard: Heard, kind: str) -> None:
    assert (await heard.post(Content_Type=kind))[0] == 415
    assert (await heard.post(Content_Type="application/json; charset=utf-8"))[0] == 201


async def test_a_body_that_is_too_large_is_not_read(heard: Heard) -> None:
    big = {**NPS, "note": "x" * BODY_BYTES_MAX}
    assert (await heard.post(big))[0] == 413
    assert (await heard.ask(request(b"", Content_Length=str(10**15))))[0] == 413
    chunk = b"%x\r\n%s\r\n" % (BODY_BYTES_MAX, b"x" * BODY_BYTES_MAX)
    head = request(b"", Content_Length="", Transfer_Encoding="chunked")
    assert (await heard.ask(head, chunk, b"1\r\nx\r\n"))[0] == 413
    assert heard.told == []


@pytest.mark.parametrize(
    "raw",
    [
        request(X="y" * 40_000),
        b"POST /" + b"a" * 40_000,
        request().replace(b"Content-Length:", b"Content-Length: 3\r\nContent-Length:", 1),
        request(Content_Length="-1"),
        request(Transfer_Encoding="chunked, identity"),
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\0" * 300 + b"\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"POST /moments HTTP/1.1\r\nHost : localhost\r\n\r\n",
        b"POST /moments HTTP/1.1\r\nHost: localhost\r\n X: folded\x00\r\n\r\n",
    ],
)
async def test_what_is_no_http_gets_a_plain_no(heard: Heard, raw: bytes) -> None:
    status, _, said = await heard.ask(raw)
    assert 400 <= status < 505 and "error" in said and heard.told == []


async def test_a_second_request_in_the_same_breath_is_never_taken_for_one(heard: Heard) -> None:
    status, headers, _ = await heard.ask(request() + request({**NPS, "score": 9}))
    assert status == 201 and headers["connection"] == "close" and len(heard.told) == 1


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"", "no JSON"), (b"{", "no JSON"), (b"\xff\xfe{}", "no JSON"), (b"[" * 50_000, "no JSON"), (b'{"a": NaN}', "no number"),
        (b'{"email": "a", "email": "b"}', "twice"), (b"[]", "no object"), (b'"x"', "no object"), (b"null", "no object"),
    ],
)  # fmt: skip
async def test_a_body_that_is_no_object_is_refused(heard: Heard, body: bytes, said: str) -> None:
    status, _, answer = await heard.post(body)
    assert status == 400 and said in answer["error"] and heard.told == []


@pytest.mark.parametrize(
    "more",
    [{"email": None}, {"email": "no address"}, {"moment": ""}, {"score": {"a": {"b": 1}}}, {"note": "x\u202ey"}, {"note": "\u0000"},
     {"date": "soon"}, {"date": "2999-01-01"}, {"note": [[1]]}, {"note": "x" * 3000}, {"prospect": {"nose": "long"}},
     {"email": "x@y.example", "name": "A\nBcc: evil@attacker.test"}],
)  # fmt: skip
async def test_what_is_wrong_with_a_moment_is_told_in_words(heard: Heard, more: dict[str, Any]) -> None:
    status, _, said = await heard.post({**NPS, **more})
    assert status == 422 and said["kept"] is False and said["error"]
    assert heard.inst.store.all_enrollments() == []


async def test_a_key_that_is_none_is_refused(heard: Heard) -> None:
    for key in ("two words", "x" * 201, "\xe4"):
        assert (await heard.post(Idempotency_Key=key))[0] == 400


async def test_other_paths_and_methods_are_nothing(heard: Heard) -> None:
    assert (await heard.ask(request(b"", "GET /../secret.key HTTP/1.1")))[0] == 404
    assert (await heard.ask(request(b"", "GET http://evil.example/moments HTTP/1.1")))[0] == 404
    for method in ("GET", "PUT", "DELETE", "TRACE", "CONNECT"):
        status, headers, _ = await heard.ask(request(b"", f"{method} /moments HTTP/1.1"))
        assert status == 405 and headers["allow"] == "POST"


async def test_who_writes_slowly_is_not_waited_for(heard: Heard, monkeypatch: pytest.MonkeyPatch) -> None:
    """Slow loris: a byte now and then, in the head or in the body. One deadline holds for the whole request."""
    monkeypatch.setattr(endpoint, "REQUEST_SECONDS", 0.3)
    for part in (b"POST /moments HTTP/1.1\r\nHost: lo", request()[:-5], b""):
        status, _, said = await heard.ask(part)
        assert status == 408 and "was not whole" in said["error"]
    assert heard.told == []


async def test_who_keeps_all_connections_open_keeps_nobody_out_for_long(
    heard: Heard, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(endpoint, "REQUEST_SECONDS", 1.5)
    held = [await asyncio.open_connection("127.0.0.1", heard.endpoint.port) for _ in range(CONNECTIONS_MAX)]
    status, headers, _ = await heard.post()
    assert status == 503 and headers["retry-after"] == "5"
    deadline = time.monotonic() + 60
    while (await heard.post())[0] != 201:
        assert time.monotonic() < deadline, "the connections that say nothing are never let go"
        await asyncio.sleep(0.1)
    for _, writer in held:
        writer.close()


async def test_who_hangs_up_in_the_middle_leaves_nothing_behind(heard: Heard) -> None:
    for raw in (b"", b"POST /mom", request()[:-3], request()):
        _, writer = await asyncio.open_connection("127.0.0.1", heard.endpoint.port)
        writer.write(raw)
        writer.transport.abort()
    assert (await heard.post({"email": DANA, "moment": "delivered"}))[0] == 201
    await until(lambda: not heard.endpoint._open)


async def test_a_flood_of_bad_requests_fills_no_log(heard: Heard, caplog: pytest.LogCaptureFixture) -> None:
    for _ in range(20):
        await heard.post(Authorization="Bearer x")
    assert caplog.text.count("refused a request: 401") == 1 and "Bearer" not in caplog.text


async def test_what_fails_inside_says_so_and_nothing_more(heard: Heard) -> None:
    async def broken(said: Mapping[str, Any], key: str) -> endpoint.Answer:
        raise RuntimeError("the store at /secret/path is gone")

    heard.endpoint._tell = broken
    status, headers, said = await heard.post()
    assert status == 503 and headers["retry-after"] == "60" and "secret" not in json.dumps(said)


# --- the config and the daemon ---------------------------------------------------------------------------------------

CONFIG = """
secret: secret.key
mailboxes:
  - address: sam@demo.test
    name: Sam Carter
    smtp: {host: 127.0.0.1, port: 9, security: none}
    imap: {host: 127.0.0.1, port: 9, security: none}
    password: {env: NONE}
moments:
"""


def config(folder: Path, moments: str) -> Config:
    (folder / "config.yaml").write_text(CONFIG + moments)
    return load_config(folder / "config.yaml", {})


@pytest.mark.parametrize(
    ("moments", "said"),
    [
        ("  listen: 127.0.0.1:8025", "listens without a token"),
        ("  {listen: '0.0.0.0:8025', token: {env: T}}", "would listen beyond this machine, on 0.0.0.0"),
        ("  {listen: '[::]:8025', token: {env: T}}", "would listen beyond this machine"),
        ("  {listen: 'crm.example:8025', token: {env: T}}", "would listen beyond this machine"),
        ("  {listen: 8025, token: {env: T}}", "takes an address and a port"),
        (f"  {{listen: 'localhost:8025', token: {TOKEN}}}", "is no name of a place where it is kept"),
    ],
)
def test_a_config_that_would_open_a_door_is_refused(tmp_path: Path, moments: str, said: str) -> None:
    with pytest.raises(UserError) as refused:
        config(tmp_path, moments)
    assert said in str(refused.value) and TOKEN not in str(refused.value)
    assert config(tmp_path, "  {listen: '0.0.0.0:8025', token: {env: T}, beyond_loopback: true}").moments.listen


def test_a_token_that_can_be_guessed_or_read_by_others_is_none(tmp_path: Path) -> None:
    loaded = config(tmp_path, "  {listen: 'localhost:8025', token: {env: T}}")
    for token in ("", "short", "two words of more than thirty-two characters"):
        with pytest.raises(UserError) as refused:
            endpoint_token(loaded, {"T": token})
        assert not token or token not in str(refused.value)
    assert endpoint_token(loaded, {"T": TOKEN}) == TOKEN
    (tmp_path / "token").write_text(TOKEN)
    (tmp_path / "token").chmod(0o644)
    with pytest.raises(UserError, match="others can read"):
        endpoint_token(config(tmp_path, "  {listen: 'localhost:8025', token: {file: token}}"), {})


def test_nothing_listens_unless_it_is_configured(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text(CONFIG.replace("moments:\n", ""))
    assert load_config(tmp_path / "config.yaml", {}).moments.listen is None


async def test_the_daemon_hears_moments_and_takes_in_the_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("T", TOKEN)
    loaded = config(tmp_path, "  {folder: inbox, listen: '127.0.0.1:8025', token: {env: T}}")
    loaded = replace(loaded, moments=replace(loaded.moments, listen=("127.0.0.1", 0)))
    store: Store = open_store(loaded.store)
    store.add_contact(Contact("", DANA, name="Dana Whitfield", owner="sam@demo.test"))
    store.add_contact(Contact("", LEE, name="Lee Moran", owner="sam@demo.test"))
    (tmp_path / "inbox").mkdir()
    (tmp_path / "inbox/scores.csv").write_text(f"email,moment,score\n{LEE},nps,10\n")
    monkeypatch.setattr("engine.folder.QUIET", timedelta(0))
    monkeypatch.setattr("engine.folder.IN_HAND", timedelta(0))
    daemon = Daemon(loaded, RealClock(), b"x" * 64, library({"triggers": TRIGGERS}))
    await daemon.start()
    try:
        assert daemon.endpoint is not None
        heard = Heard(daemon.endpoint, daemon._here(), [])
        assert (await heard.post())[2]["started"] == ["nudge"]
        done = tmp_path / "inbox/done"
        await until(lambda: done.is_dir() and bool(list(done.iterdir())))
        people = {store.contact(e.contact).email for e in store.all_enrollments()}  # type: ignore[union-attr]
        assert people == {DANA, LEE}
    finally:
        await daemon.stop()
        store.close()
