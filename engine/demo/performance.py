"""One performance of the demo from the first line to the last: servers, project, daemon, conductor and narrator put together
and taken apart again, whatever happens in between."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
import tempfile
from collections.abc import Iterator
from pathlib import Path

from rich.console import Console

from engine.clock import JumpClock
from engine.config import Config
from engine.daemon import Daemon, log
from engine.demo import stage
from engine.demo.conductor import Conductor
from engine.demo.narrator import Narrator
from engine.demo.story import REP, Script
from engine.demo.verdict import Verdict, judge
from engine.demo.world import MailWorld, missing_extra
from engine.project import open_installation
from engine.run import only_one

#: How long each thing stays alone on the screen before the next: all of it in about a minute.
READING_SECONDS = 1.3
SCRIPT = Script()
#: The opening takes as long to read as so many things.
OPENING = 5


def run(
    keep: Path | None = None, *, pace: float | None = None, console: Console | None = None, script: Script = SCRIPT
) -> int:
    """Plays the demo and returns the exit code: 0 only if every story ended as scripted.

    `keep`: a folder, not there yet or empty, that holds the project and all mail afterwards. `pace`: seconds between two things
    told (default: to read along in a terminal, none elsewhere). Raises UserError where it cannot be played."""
    if (missing := missing_extra()) is not None:
        raise missing
    console = console or Console()
    pace = (READING_SECONDS if console.is_terminal else 0.0) if pace is None else pace
    with contextlib.ExitStack() as stack:
        if keep is not None:
            stage.refuse_full(keep)
        folder = keep or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="whoelse-demo-"))) / "project"
        verdict = asyncio.run(_perform(folder, script, console, pace))
    if keep is not None:
        console.print(f"\nThe project is in {keep}, to look around in:", soft_wrap=True, highlight=False)
        console.print(f"whoelse show {script.cast[0].client.email} --config {keep / 'config.yaml'}", soft_wrap=True)
    return 0 if verdict.ok else 1


async def _perform(folder: Path, script: Script, console: Console, pace: float) -> Verdict:
    clock, password = JumpClock(script.begin), secrets.token_hex(8)
    living = [REP, *script.others, *(role.client for role in script.cast if not role.dead)]
    dead = frozenset(role.client.email for role in script.cast if role.dead)
    narrator = Narrator(console, script)
    with MailWorld({person.email: password for person in living}, dead, clock.now) as world:
        config = stage.build(folder, world, password)
        with _log_in_file(config, clock), only_one(config.store):
            verdict = await _play(config, script, world, clock, password, narrator, pace)
        stage.keep_mail(folder / "mail", world.deliveries(0))
    return verdict


async def _play(
    config: Config, script: Script, world: MailWorld, clock: JumpClock, password: str, narrator: Narrator, pace: float
) -> Verdict:
    inst = open_installation(config, {}, clock.now(), log.info)
    inst.store.listener = narrator.hear
    daemon = Daemon(config, clock, inst.key, inst.library, on_told=narrator.hear)

    async def rested() -> None:
        for _ in narrator.tell(inst):
            await asyncio.sleep(pace)

    try:
        narrator.open()
        await asyncio.sleep(pace * OPENING)
        await daemon.start()
        try:
            await Conductor(script, world, daemon, inst, clock, password, narrator.hear).play(rested)
        finally:
            await daemon.stop()
        verdict = await asyncio.to_thread(_judged, script, config, clock, world, password)
        narrator.close(verdict, inst)
    finally:
        inst.store.close()
    return verdict


def _judged(script: Script, config: Config, clock: JumpClock, world: MailWorld, password: str) -> Verdict:
    """In a thread of its own, with a store of its own: the mailboxes are read over sockets."""
    inst = open_installation(config, {}, clock.now(), log.info)
    with contextlib.closing(inst.store):
        return judge(script, inst, world, password)


@contextlib.contextmanager
def _log_in_file(config: Config, clock: JumpClock) -> Iterator[None]:
    """The daemon's log goes into a file beside the store, and the screen belongs to the story."""
    handler = logging.FileHandler(config.folder / "whoelse.log")
    handler.setFormatter(logging.Formatter("%(now)s %(levelname)-7s %(message)s"))
    handler.addFilter(lambda record: record.__dict__.update(now=f"{clock.now():%Y-%m-%d %H:%M}") or True)
    before, level, propagates = log.handlers[:], log.level, log.propagate
    log.handlers[:], log.propagate = [handler], False
    log.setLevel(logging.INFO)
    try:
        yield
    finally:
        log.handlers[:], log.propagate = before, propagates
        log.setLevel(level)
        handler.close()
