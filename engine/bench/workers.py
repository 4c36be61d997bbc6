"""Claims on PostgreSQL: four processes against one, each claiming from mailboxes of its own, as fast as it can. A claim is what the
outbox does for it: the lease, the next email, the mailbox's rate, and the frozen bytes, committed."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from engine.bench import peers, project
from engine.bench.harness import Ground, Row, compare, not_measured
from engine.bench.servers import Missing, new_database, postgres
from engine.core.model import OutboxState
from engine.store import Store, open_store

WORKERS = 4
LEASE = timedelta(minutes=10)


def measure(ground: Ground) -> Iterator[Row]:
    name, target, unit = "workers", 1.5, "claims/s"
    try:
        import psycopg  # noqa: F401

        with postgres(ground.fresh("postgres"), safe=True) as url:
            claims = ground.pick(8, 800)
            note = f"{WORKERS} workers against one; {os.cpu_count()} cores, which PostgreSQL shares"
            if ground.wants(name):
                yield compare(
                    name, ">=", target, lambda: rate(ground, url, claims, WORKERS), lambda: rate(ground, url, claims, 1), unit,
                    pairs=ground.pairs, note=note,
                )  # fmt: skip
            if ground.wants_peer("workers/peer"):
                name, target = "workers/peer", 3.0
                yield compare(
                    name, ">=", target, lambda: rate(ground, url, claims, 1), lambda: fetches(ground, url, claims), unit,
                    pairs=ground.pairs, note="one worker; Procrastinate's fetch",
                )  # fmt: skip
    except ImportError:
        yield not_measured(name, ">=", target, unit, "psycopg is not installed: pip install 'whoelse[postgres]'")
    except Missing as lacking:
        yield not_measured(name, ">=", target, unit, str(lacking))


def rate(ground: Ground, url: str, claims: int, workers: int) -> float:
    """Claims a second of all workers together, from when the first begins until the last one has ended."""
    config = replace(project.make(ground.fresh("workers"), project.UNUSED_PORT, WORKERS), store=new_database(url))
    inst = project.opened(config, ground)
    with closing(inst.store):
        project.queue(inst, claims, datetime.now(UTC))
        addresses = [mailbox.address for mailbox in config.mailboxes]
        spans = claimed_by(config.store, [addresses[n::workers] for n in range(workers)])
        assert sum(count for count, _, _ in spans) == claims
        frozen = inst.store.outbox_in(OutboxState.CLAIMED)
        assert len(frozen) == claims and {message.token for message in frozen} == {1}
    return claims / (max(end for _, _, end in spans) - min(begin for _, begin, _ in spans))


def fetches(ground: Ground, url: str, jobs: int) -> float:
    return peers.figure(ground, peers.PROCRASTINATE, ("procrastinate", "psycopg[binary]"), new_database(url), str(jobs))


def claimed_by(url: str, shares: Sequence[Sequence[str]]) -> list[tuple[int, float, float]]:
    """(claims, begin, end) of one process for each share of the mailboxes; all begin together."""
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    processes = [
        subprocess.Popen(
            [sys.executable, "-m", "engine.bench.workers", url, *share], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            text=True, env=environ,
        )
        for share in shares
    ]  # fmt: skip
    for process in processes:
        assert process.stdout and process.stdout.readline() == "ready\n"
    for process in processes:
        assert process.stdin
        process.stdin.write("go\n")
        process.stdin.flush()
    said = [process.communicate()[0].split() for process in processes]
    return [(int(count), float(begin), float(end)) for count, begin, end in said]


def claim_all(store: Store, address: str) -> int:
    """Everything that is queued for this mailbox, one transaction each."""
    count, bytes_of_an_email = 0, b"x" * 2_500
    while True:
        now = datetime.now(UTC)
        with store.transaction():
            epoch = store.lease(address, str(os.getpid()), now, now + LEASE)
            message = store.queued(address, now)
            if epoch is None or message is None:
                return count
            ready = replace(
                message, raw=bytes_of_an_email, message_id=f"<{message.id}@bench.example>", deadline=now + LEASE
            )
            assert store.consume_rate(address, epoch, now, now, "today", 1_000_000)
            assert store.freeze(ready)
            count += 1


def _work(url: str, addresses: Sequence[str]) -> None:
    with closing(open_store(url)) as store:
        print("ready", flush=True)
        sys.stdin.readline()
        begin = time.time()
        count = sum(claim_all(store, address) for address in addresses)
        print(count, begin, time.time())


if __name__ == "__main__":
    _work(sys.argv[1], sys.argv[2:])
