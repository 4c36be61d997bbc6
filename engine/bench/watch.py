"""What an idle mailbox costs that is watched: a thousand of them over TLS at a real Dovecot, in one process of its own. Memory is
what each takes beyond the first; processor time is measured while nothing happens."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from engine.account import Account
from engine.bench.harness import Ground, Row, absolute, not_measured
from engine.bench.servers import Dovecot, Missing, dovecot
from engine.imap import Fetched, Position
from engine.watcher import Watcher

PASSWORD = "secret"
PATIENCE_SECONDS = 600.0


def measure(ground: Ground) -> Iterator[Row]:
    mailboxes, quiet = ground.pick((3, 1.0), (1_000, 20.0))
    users = {f"rep{n}@bench.example": PASSWORD for n in range(mailboxes)}
    try:
        with dovecot(ground.fresh("dovecot"), users) as server:
            found = watched(server, mailboxes, quiet)
    except Missing as lacking:
        yield not_measured("watch/memory", "<=", 60, "KB", str(lacking))
        yield not_measured("watch/idle", "<=", 1, "% of a core", str(lacking))
        return
    if ground.wants("watch/memory"):
        yield absolute("watch/memory", "<=", 60, found["kilobytes"], "KB", f"a mailbox more, of {mailboxes:,} over TLS")
    if ground.wants("watch/idle"):
        note = f"all {mailboxes:,} together, over {quiet:g} s in which nothing came"
        yield absolute("watch/idle", "<=", 1, found["percent"], "% of a core", note)


def watched(server: Dovecot, mailboxes: int, quiet: float) -> dict[str, Any]:
    """Measured in a process that does nothing else."""
    arguments = [str(server.imaps_port), server.cafile, str(mailboxes), str(quiet)]
    done = subprocess.run(
        [sys.executable, "-m", "engine.bench.watch", *arguments], capture_output=True, text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    assert found["read"] == mailboxes, f"{found['read']} of {mailboxes} were read to their end"
    return found


def _report(port: int, cafile: str, mailboxes: int, quiet: float) -> dict[str, float]:
    positions: dict[tuple[str, str], Position] = {}
    read: set[str] = set()

    def unexpected(fetched: Fetched) -> None:
        raise AssertionError("nothing came")

    watcher = Watcher(
        position=lambda mailbox, folder: positions.get((mailbox, folder)), on_mail=unexpected,
        on_position=lambda mailbox, folder, position: positions.update({(mailbox, folder): position}),
        on_read=lambda mailbox, at: read.add(mailbox), on_down=lambda mailbox, sentence, login: None,
        rescan=lambda mailbox, folder: None, now=lambda: datetime.now(UTC),
    )  # fmt: skip

    def watch(numbers: range) -> None:
        for n in numbers:
            watcher.add(
                f"rep{n}", Account("localhost", port, "tls", f"rep{n}@bench.example", lambda: PASSWORD, cafile=cafile)
            )
        deadline = time.monotonic() + PATIENCE_SECONDS
        while len(read) < numbers.stop and time.monotonic() < deadline:
            time.sleep(0.05)

    warm = max(1, mailboxes // 20)  # the threads are there, and what each of them keeps
    watch(range(warm))
    before = resident_kilobytes()
    watch(range(warm, mailboxes))
    each = (resident_kilobytes() - before) / (mailboxes - warm)
    began, spent = time.monotonic(), time.process_time()
    time.sleep(quiet)
    percent = 100 * (time.process_time() - spent) / (time.monotonic() - began)
    with contextlib.suppress(Exception):
        watcher.stop()
    return {"read": len(read), "kilobytes": each, "percent": percent}


def resident_kilobytes() -> int:
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmRSS"))
    return int(line.split()[1])


if __name__ == "__main__":
    port, cafile, mailboxes, quiet = sys.argv[1:]
    print(json.dumps(_report(int(port), cafile, int(mailboxes), float(quiet))))
