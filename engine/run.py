"""`whoelse run`: one process for one store, with a lock that says who holds it, a log with one line for each thing that
matters, and a clean end on SIGTERM and SIGINT."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import json
import logging
import os
import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path

from engine.clock import RealClock
from engine.config import Config
from engine.copies import refuse_damaged
from engine.daemon import Daemon, log
from engine.errors import UserError
from engine.project import open_installation

HOLDER_LOOKS_MAX, HOLDER_LOOK_SECONDS = 200, 0.05


def run(config: Config, *, once: bool = False, log_format: str = "text") -> int:
    """`whoelse run`: until SIGTERM or SIGINT, or (`once`) for one pass. Returns the exit code.

    Raises UserError where another daemon holds the store, or something needed is missing."""
    begin_log(log_format)
    clock = RealClock()
    with only_one(config.store):
        inst = open_installation(config, os.environ, clock.now(), log.info)
        refuse_damaged(inst.store)
        inst.store.close()
        return asyncio.run(_run(Daemon(config, clock, inst.key, inst.library), once))


async def _run(daemon: Daemon, once: bool) -> int:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    await daemon.start(loops=not once)
    try:
        if once:
            return 0 if await daemon.once() else 1
        log.info("whoelse runs for %s", ", ".join(m.address for m in daemon.config.mailboxes))
        await stop.wait()
        log.info("stopping: the message in hand is finished first")
    finally:
        await daemon.stop()
    log.info("stopped")
    return 0


@contextlib.contextmanager
def only_one(store: str) -> Iterator[None]:
    """One daemon for one SQLite file; PostgreSQL shares itself by leases. Raises UserError with who holds it."""
    if store.startswith(("postgresql:", "postgres:")):
        yield
        return
    with open(f"{store}.lock", "a+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            remedy = "stop that whoelse run first"
            raise UserError(f"{store} is held by {holder(Path(lock.name))}", remedy=remedy) from None
        lock.truncate(0)
        lock.write(f"whoelse run, process {os.getpid()} on {socket.gethostname()}")
        lock.flush()
        yield


def holder(lock: Path) -> str:
    """What the one who has the lock wrote into it, a moment after taking it."""
    for _ in range(HOLDER_LOOKS_MAX):
        if said := lock.read_text().strip():
            return said
        time.sleep(HOLDER_LOOK_SECONDS)
    return "another process"


class JsonLines(logging.Formatter):
    """One JSON object a line."""

    def format(self, record: logging.LogRecord) -> str:
        line = {"time": self.formatTime(record, "%Y-%m-%dT%H:%M:%S%z"), "level": record.levelname.lower()}
        if record.exc_info:
            line["error"] = self.formatException(record.exc_info)
        return json.dumps({**line, "kind": getattr(record, "kind", ""), "message": record.getMessage()})


def begin_log(log_format: str) -> None:
    """One line for each thing that matters, to standard error."""
    handler = logging.StreamHandler()
    text = logging.Formatter("%(asctime)s %(levelname)-7s %(message)s", "%Y-%m-%d %H:%M:%S")
    handler.setFormatter(JsonLines() if log_format == "json" else text)
    log.handlers[:] = [handler]
    log.setLevel(logging.INFO)
    log.propagate = False
