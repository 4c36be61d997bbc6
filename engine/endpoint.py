"""Where other systems on this machine tell of moments: `POST /moments`, and `GET /health` for whoever watches that it lives. One
request a connection, within one deadline and small limits, and nothing of it is believed before the host, the token and the
type are right. Neither the store nor what a moment means is known here; h11 decides what is HTTP."""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import json
import logging
import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import h11

log = logging.getLogger("whoelse")

REQUEST_SECONDS = 10.0
DRAIN_SECONDS = 1.0
#: So many are served at once; so many more are told that there are too many, and further ones nothing.
CONNECTIONS_MAX, ANSWERED_MAX = 16, 64
HEADER_BYTES_MAX = 16 * 1024
BODY_BYTES_MAX = 64 * 1024
READ_BYTES = 4 * 1024
SAID_AGAIN_SECONDS = 60.0
_KEY = re.compile(r"[\x21-\x7e]{1,200}")

#: What came of a moment: a status of HTTP, and what is said.
Answer = tuple[int, Mapping[str, Any]]
#: Tells of a moment: the object that was posted, and the Idempotency-Key, which may be empty.
Tell = Callable[[Mapping[str, Any], str], Awaitable[Answer]]


class _Refused(Exception):
    """A request that is answered without anything being done."""

    def __init__(self, status: int, error: str, remedy: str = "", **headers: str) -> None:
        super().__init__(error)
        self.answer: Answer = (status, {"error": error, **({"remedy": remedy} if remedy else {})})
        self.headers = {name.replace("_", "-"): value for name, value in headers.items()}


@dataclass(frozen=True)
class Head:
    """The head of a request. Names are in small letters; a name that came several times has all its values."""

    method: str
    path: str
    headers: Mapping[str, tuple[str, ...]]

    def only(self, name: str) -> str:
        """The one value of a header; empty where there is none, or where two would contradict each other."""
        values = self.headers.get(name, ())
        return values[0] if len(values) == 1 else ""


class Endpoint:
    """One listening socket; `close` ends it and whoever is connected."""

    def __init__(self, token: str, hosts: frozenset[str], tell: Tell) -> None:
        self._token, self._hosts, self._tell = token.encode(), hosts, tell
        self._open: set[asyncio.Task[None]] = set()
        self._said: dict[int, float] = {}
        self._server: asyncio.Server | None = None

    async def listen(self, host: str, port: int) -> None:
        """Raises OSError where that cannot be listened on."""
        import h11  # noqa: F401  only where it is asked for

        self._server = await asyncio.start_server(self._connected, host, port, limit=READ_BYTES, backlog=64)

    @property
    def port(self) -> int:
        assert self._server is not None
        return int(self._server.sockets[0].getsockname()[1])

    async def close(self) -> None:
        if self._server is not None:
            self._server.close()
        for task in self._open:
            task.cancel()
        await asyncio.gather(*self._open, return_exceptions=True)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if len(self._open) >= ANSWERED_MAX:
            writer.transport.abort()
            return
        task = asyncio.current_task()
        assert task is not None
        self._open.add(task)
        try:
            # Cancelled is who is still connected when it closes; nobody waits for this task.
            with contextlib.suppress(OSError, asyncio.CancelledError):
                await self._serve(reader, writer, full=len(self._open) > CONNECTIONS_MAX)
        finally:
            self._open.discard(task)
            writer.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, full: bool) -> None:
        """One request, answered whatever it is; then what the other side still sends is read for a moment, so that it gets
        the answer and no reset."""
        import h11

        http = h11.Connection(h11.SERVER, max_incomplete_event_size=HEADER_BYTES_MAX)
        headers: Mapping[str, str] = {}
        try:
            async with asyncio.timeout(REQUEST_SECONDS):
                if full:
                    raise _Refused(503, "too many connections", retry_after="5")
                answer = await self._answered(http, reader, writer)
        except _Refused as refused:
            answer, headers = refused.answer, refused.headers
        except TimeoutError:
            answer = (408, {"error": f"the request was not whole after {REQUEST_SECONDS:.0f} seconds"})
        except h11.RemoteProtocolError as error:
            answer = (error.error_status_hint, {"error": "this is no request of HTTP/1.1"})
        except Exception:
            log.exception("the moments endpoint: a request failed")
            answer, headers = (503, {"error": "it failed here; try again"}), {"retry-after": "60"}
        if answer[0] >= 400:
            self._remark(*answer)
        async with asyncio.timeout(REQUEST_SECONDS):
            writer.write(_response(http, *answer, headers))
            await writer.drain()
        await _drained(reader, writer)

    def _remark(self, status: int, said: Mapping[str, Any]) -> None:
        """A line in the log, of each kind one a minute: nobody fills a disk with bad requests. Nothing of the request is in it."""
        at = asyncio.get_running_loop().time()
        if at - self._said.get(status, -SAID_AGAIN_SECONDS) >= SAID_AGAIN_SECONDS:
            self._said[status] = at
            log.warning("the moments endpoint refused a request: %s %s", status, said.get("error", ""))

    # --- a request ---------------------------------------------------------------------------------------------------

    async def _answered(
        self, http: h11.Connection, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> Answer:
        head = await _head(http, reader)
        self._refuse_host(head)
        if head.path == "/health":
            _refuse_method(head, "GET")
            return 200, {"ok": True}
        if head.path != "/moments":
            raise _Refused(404, "there is nothing here", "POST /moments")
        _refuse_method(head, "POST")
        self._refuse_stranger(head)
        kind, _, _ = head.only("content-type").partition(";")
        if kind.strip().lower() != "application/json":
            raise _Refused(415, "the body is not announced as JSON", "Content-Type: application/json")
        key = head.only("idempotency-key")
        if "idempotency-key" in head.headers and not _KEY.fullmatch(key):
            raise _Refused(400, "the Idempotency-Key is none", "one word of at most 200 plain characters")
        return await self._tell(_object(await _body(http, head, reader, writer)), key)

    def _refuse_host(self, head: Head) -> None:
        """A page in a browser that was led here by DNS names its own host (DNS rebinding), and itself as Origin."""
        name = re.sub(r":\d*$", "", head.only("host")).lower().strip("[]")
        if name not in self._hosts:
            raise _Refused(421, "it is not called by this name here", "add the name to hosts: in the config")
        if "origin" in head.headers:
            raise _Refused(403, "it does not speak to web pages")

    def _refuse_stranger(self, head: Head) -> None:
        scheme, _, shown = head.only("authorization").partition(" ")
        right = hmac.compare_digest(shown.strip().encode(), self._token)
        if scheme.lower() != "bearer" or not right:
            raise _Refused(
                401, "the token is missing or wrong", "Authorization: Bearer TOKEN", www_authenticate="Bearer"
            )


def _refuse_method(head: Head, *methods: str) -> None:
    if head.method not in methods:
        raise _Refused(405, f"{head.path} takes {' and '.join(methods)}", allow=", ".join(methods))


async def _next(http: h11.Connection, reader: asyncio.StreamReader) -> Any:
    """The next event of the connection. Raises RemoteProtocolError, also where the other side hangs up in the middle."""
    import h11

    while (event := http.next_event()) is h11.NEED_DATA:
        http.receive_data(await reader.read(READ_BYTES))
    return event


async def _head(http: h11.Connection, reader: asyncio.StreamReader) -> Head:
    import h11

    event = await _next(http, reader)
    if not isinstance(event, h11.Request):
        raise ConnectionResetError("nobody asked for anything")
    headers: dict[str, tuple[str, ...]] = {}
    for name, value in event.headers:
        headers[name.decode("ascii")] = (*headers.get(name.decode("ascii"), ()), value.decode("latin-1"))
    return Head(event.method.decode("ascii"), event.target.decode("latin-1").partition("?")[0], headers)


async def _body(http: h11.Connection, head: Head, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
    import h11

    too_large = _Refused(413, f"the body is larger than {BODY_BYTES_MAX:,} bytes", "one moment is a few lines")
    if int(head.only("content-length") or "0") > BODY_BYTES_MAX:
        raise too_large
    if http.they_are_waiting_for_100_continue:
        writer.write(http.send(h11.InformationalResponse(status_code=100, headers=[])) or b"")
        await writer.drain()
    body = bytearray()
    while isinstance(event := await _next(http, reader), h11.Data):
        body += event.data
        if len(body) > BODY_BYTES_MAX:
            raise too_large
    return bytes(body)


def _object(body: bytes) -> Mapping[str, Any]:
    """The one JSON object of a body; a name that stands in it twice, or a number that is none, is no JSON of ours."""

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) < len(pairs):
            raise ValueError("a name stands in it twice")
        return found

    def never(number: str) -> None:
        raise ValueError(f"{number} is no number of JSON")

    try:
        found = json.loads(body.decode(), object_pairs_hook=once, parse_constant=never)
    except (ValueError, RecursionError) as error:
        raise _Refused(400, f"the body is no JSON: {error}"[:200]) from None
    if not isinstance(found, dict):
        raise _Refused(
            400, "the body is no object", 'like {"email": "dana@acme.example", "moment": "nps", "score": 10}'
        )
    return found


def _response(http: h11.Connection, status: int, said: Mapping[str, Any], headers: Mapping[str, str]) -> bytes:
    import h11

    body = json.dumps(said, ensure_ascii=False, default=str).encode() + b"\n"
    lines = {
        **headers,
        "Content-Type": "application/json",
        "Content-Length": str(len(body)),
        "Cache-Control": "no-store",
        "X-Content-Type-Options": "nosniff",
        "Connection": "close",
    }
    try:
        head = http.send(
            h11.Response(status_code=status, reason=HTTPStatus(status).phrase.encode(), headers=list(lines.items()))
        )
        return (head or b"") + (http.send(h11.Data(data=body)) or b"") + (http.send(h11.EndOfMessage()) or b"")
    except h11.LocalProtocolError:  # the connection is beyond answering
        return b""


async def _drained(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    if writer.can_write_eof():
        writer.write_eof()
    rest = 0
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(DRAIN_SECONDS):
            while rest <= BODY_BYTES_MAX and (data := await reader.read(READ_BYTES)):
                rest += len(data)
