"""The most memory that a daemon takes over two thousand sends, with a million people of whom nothing is due, against a process that
has imported the same and does nothing."""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

from engine.bench import project, send
from engine.bench.crowd import with_crowd
from engine.bench.harness import Ground, Row, compare
from engine.bench.sink import sink


def measure(ground: Ground) -> Iterator[Row]:
    people, emails = ground.pick(20, 1_000_000), ground.pick(4, 2_000)
    idle = with_crowd(ground, people, datetime.now(UTC))
    with sink() as server:
        folder = Path(idle.store).parent
        (folder / "config.yaml").write_text(project.config_text(server.port))
        config = project.read(folder)

        def daemon() -> float:
            inst = project.opened(config, ground)
            with closing(inst.store):
                project.queue(inst, emails, datetime.now(UTC))
            megabytes = peak("-m", "engine.bench.memory", str(folder))
            server.settle(emails)
            return megabytes

        note = f"{emails:,} sends with {people:,} idle enrollments"
        yield compare("memory", "<=", 1.8, daemon, lambda: peak("-m", "engine.bench.memory"), "MB", pairs=1, note=note)


def peak(*arguments: str) -> float:
    done = subprocess.run(
        [sys.executable, *arguments],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert done.returncode == 0, done.stderr
    return float(done.stdout)


def _sent(folder: Path) -> None:
    inst = project.opened(project.read(folder))
    inst.store.close()
    asyncio.run(send.sent_by(inst))


if __name__ == "__main__":
    for place in sys.argv[1:]:
        _sent(Path(place))
    # Of this process alone: what getrusage(2) calls the peak of a child begins with its parent's.
    (high,) = re.findall(r"^VmHWM:\s+(\d+) kB$", Path("/proc/self/status").read_text(), re.M)
    print(int(high) / 1024)
