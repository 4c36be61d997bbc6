"""A durable send by the real daemon against a bare loop. Each email is rendered and composed for its moment, passes the gate, is
frozen, begun and recorded, each of these committed to the disk; the loop writes ready bytes to one connection and keeps nothing."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime

import aiosmtplib

from engine.bench import peers, project
from engine.bench.harness import Ground, Row, compare, not_measured
from engine.bench.servers import Missing
from engine.bench.sink import HOST, Sink, sink
from engine.clock import RealClock
from engine.daemon import Daemon
from engine.installation import Installation
from engine.store import Told

PATIENCE_SECONDS = 120.0


def measure(ground: Ground) -> Iterator[Row]:
    emails = ground.pick(8, 400)
    for mailboxes, target in ((1, 0.6), (8, 1.0)):
        name = f"send/{mailboxes}"
        if ground.wants(name):
            with sink() as server:
                yield row(ground, server, name, mailboxes, target, emails)
    if ground.wants_peer("send/peer"):
        with sink() as server:
            yield beside_post_office(ground, server, emails)


def row(ground: Ground, server: Sink, name: str, mailboxes: int, target: float, emails: int) -> Row:
    rounds = [prepared(ground, server, mailboxes, emails) for _ in range(ground.pairs)]
    engine = iter(rounds)
    reference = iter([project.letters(inst, datetime.now(UTC)) for inst in rounds])
    note = f"{emails} emails a turn; the reference has one connection"
    return compare(
        name, ">=", target, lambda: by_daemon(next(engine), server), lambda: bare(next(reference), server),
        "messages/s", pairs=ground.pairs, note=note,
    )  # fmt: skip


def beside_post_office(ground: Ground, server: Sink, emails: int) -> Row:
    """From one mailbox, as often as django-post-office."""

    def peer() -> float:
        rate = peers.figure(ground, peers.POST_OFFICE, ("django-post-office",), str(server.port), str(emails))
        server.settle(emails)
        return rate

    note = f"{emails} emails a turn; django-post-office on SQLite"
    try:
        return compare(
            "send/peer", ">=", 2.0, lambda: by_daemon(prepared(ground, server, 1, emails), server), peer, "messages/s",
            pairs=ground.pairs, note=note,
        )  # fmt: skip
    except Missing as lacking:
        return not_measured("send/peer", ">=", 2.0, "messages/s", str(lacking))


def prepared(ground: Ground, server: Sink, mailboxes: int, emails: int) -> Installation:
    """A project in whose outbox so many emails wait."""
    config = project.make(ground.fresh("send"), server.port, mailboxes)
    inst = project.opened(config, ground)
    project.queue(inst, emails, datetime.now(UTC))
    return inst


def by_daemon(inst: Installation, server: Sink) -> float:
    """Messages a second until the last one is recorded as sent."""
    inst.store.close()
    emails, taken = asyncio.run(sent_by(inst))
    server.settle(emails)
    return emails / taken


async def sent_by(inst: Installation) -> tuple[int, float]:
    """How many a daemon sent until none was left, and in how many seconds."""
    done, loop = asyncio.Event(), asyncio.get_running_loop()
    waiting = 0

    def told(line: Told) -> None:
        nonlocal waiting
        if line.kind == "sent":
            waiting -= 1
            if waiting == 0:
                loop.call_soon_threadsafe(done.set)

    daemon = Daemon(inst.config, RealClock(), inst.key, inst.library, on_told=told, watch=project.AlwaysRead)  # type: ignore[arg-type]
    with project.unsent(inst.config) as emails:
        waiting = emails
        await daemon.start()
        await asyncio.sleep(0.1)
    began = time.perf_counter()
    daemon.poke()
    await asyncio.wait_for(done.wait(), PATIENCE_SECONDS)
    taken = time.perf_counter() - began
    await daemon.stop()
    return emails, taken


def bare(letters: Sequence[tuple[str, str, bytes]], server: Sink) -> float:
    taken = asyncio.run(_bare(letters, server.port))
    server.settle(len(letters))
    return len(letters) / taken


async def _bare(letters: Sequence[tuple[str, str, bytes]], port: int) -> float:
    smtp = aiosmtplib.SMTP(hostname=HOST, port=port, start_tls=False)
    began = time.perf_counter()
    await smtp.connect()
    for sender, recipient, raw in letters:
        await smtp.sendmail(sender, [recipient], raw)
    taken = time.perf_counter() - began
    await smtp.quit()
    return taken
