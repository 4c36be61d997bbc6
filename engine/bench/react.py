"""How soon a reply stops what runs: from the moment in which the server announces it until the stop is committed. The daemon
watches a mailbox at a real Dovecot through a relay that notes when the announcement passes."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from statistics import quantiles

from engine.bench import project
from engine.bench.harness import Ground, Row, absolute, not_measured
from engine.bench.servers import Dovecot, Missing, dovecot
from engine.bench.sink import HOST
from engine.clock import RealClock
from engine.core.model import Enrollment
from engine.daemon import Daemon
from engine.enrollments import Wish, enroll
from engine.store import Told

REP, CLIENT, PASSWORD = "rep0@bench.example", "dana@client{}.example", "secret"
PATIENCE_SECONDS = 60.0
REPLY = """\
From: Dana Whitfield <{client}>
To: <{rep}>
Subject: Re: An introduction
Message-ID: <{n}.react@client.example>

Let me think about it.
"""


def measure(ground: Ground) -> Iterator[Row]:
    try:
        with dovecot(ground.fresh("dovecot"), {REP: PASSWORD}) as server:
            taken = asyncio.run(_reactions(ground, server, ground.pick(2, 40)))
    except Missing as lacking:
        yield not_measured("react", "<=", 150, "ms", str(lacking))
        return
    slowest = quantiles(taken, n=20, method="inclusive")[-1] if len(taken) > 1 else taken[0]
    note = f"95th percentile of {len(taken)} replies; the slowest took {1000 * max(taken):.0f} ms"
    yield absolute("react", "<=", 150, 1000 * slowest, "ms", note)


@dataclass
class Relay:
    """Between daemon and server; `announced` is when an EXISTS last went by."""

    server_port: int
    port: int = 0
    announced: float = 0.0
    tasks: set[asyncio.Task[None]] = field(default_factory=set)

    async def carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there_reader, there_writer = await asyncio.open_connection(HOST, self.server_port)
        for one_way in (self._pump(reader, there_writer, False), self._pump(there_reader, writer, True)):
            task = asyncio.create_task(one_way)
            self.tasks.add(task)
            task.add_done_callback(self.tasks.discard)

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, from_server: bool) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(65_536):
                if from_server and b"EXISTS" in data:
                    self.announced = time.perf_counter()
                writer.write(data)
        writer.close()


@contextlib.asynccontextmanager
async def relay(server_port: int) -> AsyncIterator[Relay]:
    between = Relay(server_port)
    listening = await asyncio.start_server(between.carry, HOST, 0)
    between.port = listening.sockets[0].getsockname()[1]
    async with listening:
        yield between


async def _reactions(ground: Ground, server: Dovecot, replies: int) -> list[float]:
    stopped: asyncio.Queue[float] = asyncio.Queue()
    loop = asyncio.get_running_loop()

    def told(line: Told) -> None:
        if line.kind == "stopped":
            loop.call_soon_threadsafe(stopped.put_nowait, time.perf_counter())

    async with relay(server.imap_port) as between:
        config = project.make(ground.fresh("react"), project.UNUSED_PORT, imap=between.port, password=PASSWORD)
        inst = project.opened(config, ground)
        for n in range(replies + 1):
            wish = Wish(CLIENT.format(n), project.LATER, {}, contact={"name": "Dana Whitfield"})
            assert isinstance(enroll(inst, wish, datetime.now(UTC)), Enrollment)
        inst.store.close()
        daemon = Daemon(config, RealClock(), inst.key, inst.library, on_told=told)
        await daemon.start()
        try:
            assert await daemon.read_all()
            await _reaction(server, between, stopped, replies)  # the process that reads mail has started after it
            return [await _reaction(server, between, stopped, n) for n in range(replies)]
        finally:
            await daemon.stop()


async def _reaction(server: Dovecot, between: Relay, stopped: asyncio.Queue[float], n: int) -> float:
    raw = REPLY.format(client=CLIENT.format(n), rep=REP, n=n).encode()
    await asyncio.to_thread(server.deliver, REP, raw)
    committed = await asyncio.wait_for(stopped.get(), PATIENCE_SECONDS)
    assert stopped.empty() and 0 < committed - between.announced < PATIENCE_SECONDS
    return committed - between.announced
