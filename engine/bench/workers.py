"""Claims on PostgreSQL: four processes against one, each claiming from mailboxes of its own, as fast as it can. A claim is what the
outbox does for it: the lease, the next email, the mailbox's rate, and the frozen bytes; as in the daemon, what all mailboxes of a
process want at the same moment is committed once."""

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

WORKERS, MAILBOXES = 4, 32
LEASE = timedelta(minutes=10)
#: Of an email.
BYTES = b"x" * 2_500


def measure(ground: Ground) -> Iterator[Row]:
    name, target, unit = "workers", 1.5, "claims/s"
    try:
        import psycopg  # noqa: F401

        with postgres(ground.fresh("postgres"), safe=True) as url:
            claims = ground.pick(8, 800)
            note = (
                f"{MAILBOXES} mailboxes; {WORKERS} workers against one; {os.cpu_count()} cores, which PostgreSQL shares"
            )
            if ground.wants(name):
                yield compare(
                    name, ">=", target, lambda: rate(ground, url, claims, WORKERS), lambda: rate(ground, url, claims, 1), unit,
                    pairs=ground.pairs, note=note,
                )  # fmt: skip
            if ground.wants_peer("workers/peer"):
                name, target = "workers/peer", 3.0
                yield compare(
                    name, ">=", target, lambda: rate(ground, url, claims, 1), lambda: fetches(ground, url, claims), unit,
                    pairs=ground.pairs, note=f"one worker, {MAILBOXES} mailboxes; Procrastinate's fetch",
                )  # fmt: skip
    except ImportError:
        yield not_measured(name, ">=", target, unit, "psycopg is not installed: pip install 'whoelse[postgres]'")
    except Missing as lacking:
        yield not_measured(name, ">=", target, unit, str(lacking))


def rate(ground: Ground, url: str, claims: int, workers: int) -> float:
    """Claims a second of all workers together, from when the first begins until the last one has ended."""
    config = replace(project.make(ground.fresh("workers"), project.UNUSED_PORT, MAILBOXES), store=new_database(url))
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


def claim_all(store: Store, addresses: Sequence[str]) -> int:
    """Everything that is queued for these mailboxes, in rounds of one email each."""
    claimed = 0
    while True:
        with store.transaction():
            found = sum(claim(store, address) for address in addresses)
        if not found:
            return claimed
        claimed += found


def claim(store: Store, address: str) -> bool:
    now = datetime.now(UTC)
    epoch = store.lease(address, str(os.getpid()), now, now + LEASE)
    message = store.queued(address, now)
    if epoch is None or message is None:
        return False
    ready = replace(message, raw=BYTES, message_id=f"<{message.id}@bench.example>", deadline=now + LEASE)
    assert store.consume_rate(address, epoch, now, now, "today", 1_000_000)
    assert store.freeze(ready)
    return True


def _work(url: str, addresses: Sequence[str]) -> None:
    with closing(open_store(url)) as store:
        print("ready", flush=True)
        sys.stdin.readline()
        begin = time.time()
        count = claim_all(store, addresses)
        print(count, begin, time.time())


if __name__ == "__main__":
    _work(sys.argv[1], sys.argv[2:])
