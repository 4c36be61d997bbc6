"""A mail server that takes whatever comes and counts it, in a process of its own, for engine and reference alike. It speaks the
commands that a client needs (RFC 5321) and one more: XCOUNT says how many messages were accepted since the last time, and how many
different Message-IDs they had."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import smtplib
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass

HOST = "127.0.0.1"
_MESSAGE_ID = re.compile(rb"(?im)^message-id:\s*(<[^>\r\n]+>)")
_ANSWERS = {
    b"MAIL": b"250 2.1.0 Ok\r\n",
    b"RCPT": b"250 2.1.5 Ok\r\n",
    b"RSET": b"250 2.0.0 Ok\r\n",
    b"NOOP": b"250 2.0.0 Ok\r\n",
    b"EHLO": b"250-sink\r\n250-8BITMIME\r\n250-PIPELINING\r\n250-AUTH PLAIN\r\n250 SMTPUTF8\r\n",
    b"HELO": b"250 sink\r\n",
    b"AUTH": b"235 2.7.0 Ok\r\n",
}


@dataclass(frozen=True)
class Sink:
    """A running one."""

    port: int

    def count(self) -> tuple[int, int]:
        """(messages accepted, different Message-IDs among them) since the last time."""
        with smtplib.SMTP(HOST, self.port) as smtp:
            _, said = smtp.docmd("XCOUNT")
        accepted, different = map(int, said.split())
        return accepted, different

    def settle(self, sent: int) -> None:
        """The outcome that every figure of sending stands on: as many at the server as were sent, none twice."""
        accepted, different = self.count()
        assert accepted == different == sent, f"{sent} sent, {accepted} accepted, {different} of them different"


@contextlib.contextmanager
def sink(round_trip_seconds: float = 0.0) -> Iterator[Sink]:
    """Starts one; every answer comes a round trip after its command."""
    process = subprocess.Popen(
        [sys.executable, "-m", "engine.bench.sink", str(round_trip_seconds)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert process.stdin and process.stdout
    try:
        yield Sink(int(process.stdout.readline()))
    finally:
        process.stdin.close()  # which ends it, as it ends when we are killed
        process.wait()
        process.stdout.close()


class Server(asyncio.Protocol):
    def __init__(self, ids: list[bytes], delay: float) -> None:
        self.ids, self.delay = ids, delay
        self.buffer, self.in_body = b"", False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self.say(b"220 sink ESMTP\r\n")

    def say(self, answer: bytes) -> None:
        if self.delay:
            asyncio.get_running_loop().call_later(self.delay, self.transport.write, answer)
        else:
            self.transport.write(answer)

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        while True:
            end = b"\r\n.\r\n" if self.in_body else b"\r\n"
            whole, found, rest = self.buffer.partition(end)
            if not found:
                return
            self.buffer = rest
            if self.in_body:
                self.in_body = False
                named = _MESSAGE_ID.search(whole)
                self.ids.append(named[1] if named else b"")
                self.say(b"250 2.0.0 Ok: queued\r\n")
            else:
                self.command(whole)

    def command(self, line: bytes) -> None:
        verb = line[:4].upper()
        if verb == b"DATA":
            self.in_body = True
            self.say(b"354 go on\r\n")
        elif verb == b"QUIT":
            self.say(b"221 2.0.0 Bye\r\n")
            asyncio.get_running_loop().call_later(self.delay, self.transport.close)
        elif verb == b"XCOU":
            self.say(b"250 %d %d\r\n" % (len(self.ids), len(set(self.ids))))
            self.ids.clear()
        else:
            self.say(_ANSWERS.get(verb, b"502 5.5.1 what?\r\n"))


async def serve(delay: float) -> None:
    """Until standard input ends."""
    ids: list[bytes] = []
    server = await asyncio.get_running_loop().create_server(lambda: Server(ids, delay), HOST, 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await asyncio.to_thread(sys.stdin.read)


if __name__ == "__main__":
    asyncio.run(serve(float(sys.argv[1])))
