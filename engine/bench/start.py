"""What it takes until a command is there, against Python that does nothing at all. It is processor time, of the whole process: on a
machine that does nothing else that is the time one waits."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from engine.bench import project
from engine.bench.harness import Ground, Row, compare

#: So short a thing is measured more often.
PAIRS = 15


def measure(ground: Ground) -> Iterator[Row]:
    folder = ground.fresh("start")
    project.make(folder, project.UNUSED_PORT)
    pairs = ground.pick(1, PAIRS)
    for command in (("-m", "engine", "status"), ("-m", "engine", "--help")):  # make the store, and the compiled files
        run(folder, command)
    for name, target in (("help", 8.0), ("status", 15.0)):
        if ground.wants(f"start/{name}"):
            command = ("-m", "engine", "--help" if name == "help" else name)
            yield compare(
                f"start/{name}", "<=", target, lambda c=command: milliseconds(folder, c),  # type: ignore[misc]
                lambda: milliseconds(folder, ("-c", "pass")), "ms", pairs=pairs,
            )  # fmt: skip


def milliseconds(folder: Path, arguments: Sequence[str]) -> float:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    run(folder, arguments)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return 1000 * (after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)


def run(folder: Path, arguments: Sequence[str]) -> None:
    # As after an installation the compiled files are there, wherever Python may write them in this place.
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "PYTHONPYCACHEPREFIX": str(folder / "compiled")}
    environ.pop("PYTHONDONTWRITEBYTECODE", None)
    done = subprocess.run([sys.executable, *arguments], cwd=folder, env=environ, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
