"""`make soak`: the storms, the kills and the broken messages of the test run, by the thousand. It may be stopped at any time and goes on at the next seed;
each batch appends a line to docs/soak.md. Anything that does not hold is printed with its seed and its story, and ends it."""

from __future__ import annotations

import contextlib
import random
import re
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import crash
import faults
import mutations
import servers

#: How the daemons of a story died, and what did not hold.
Found = tuple[list[str], list[str]]
RESULTS = Path(__file__).parent.parent / "docs" / "soak.md"
STORM_BATCH, STORY_BATCH, DEATHS, MUTATION_BATCH, CROSSING_BATCH = 250, 8, 6, 5000, 250
#: The test run has the seeds below.
FIRST_SEED = 10_000
HEAD = """# Soak results

Each line is one batch of `make soak`: the seeds that were run, what was met, and what did not hold. A seed is run alone with
`python tests/soak.py storm SEED`, `… story SEED`, `… pair SEED`, `… crossing SEED` or `… mutation SEED`.

| date (UTC) | kind | seeds | what happened | did not hold |
| --- | --- | --- | --- | --- |
"""


def next_seed(kind: str) -> int:
    """Behind the last that was written down."""
    lines = RESULTS.read_text(encoding="utf-8") if RESULTS.exists() else ""
    done = [int(last) for last in re.findall(rf"\| {kind} \| \d+-(\d+) \|", lines)]
    return max(done, default=FIRST_SEED - 1) + 1


def write_down(kind: str, seeds: range, met: str, broken: int) -> None:
    if not RESULTS.exists():
        RESULTS.write_text(HEAD, encoding="utf-8")
    line = f"| {datetime.now(UTC):%Y-%m-%d %H:%M} | {kind} | {seeds[0]}-{seeds[-1]} | {met} | {broken} |\n"
    with RESULTS.open("a", encoding="utf-8") as results:
        results.write(line)


def storms(wanted: int) -> int:
    """Batches of seeded storms until `wanted` seeds are through; returns the exit code."""
    first = next_seed("storm")
    for start in range(first, first + wanted, STORM_BATCH):
        seeds = range(start, min(start + STORM_BATCH, first + wanted))
        broken, met = faults.storms(seeds)
        rarest = min(met.values())
        write_down("storm", seeds, f"{len(met)} kinds of faults, each in {rarest} runs or more", len(broken))
        if broken:
            print("\n\n".join(broken))
            return 1
    return 0


def crossings(wanted: int) -> int:
    """Batches of answers around a due follow-up until `wanted` are through; returns the exit code."""
    first = next_seed("crossing")
    for start in range(first, first + wanted, CROSSING_BATCH):
        seeds = range(start, min(start + CROSSING_BATCH, first + wanted))
        runs = [faults.crossing(seed) for seed in seeds]
        broken = [fault for found, _ in runs for fault in found]
        won = Counter(who for _, who in runs)
        write_down(
            "crossing", seeds, f"the answer was first in {won['answer']}, the email in {won['email']}", len(broken)
        )
        if broken:
            print("\n".join(broken))
            return 1
    return 0


def stories(wanted: int) -> int:
    """Batches of stories of kills until `wanted` deaths were died; returns the exit code."""
    return beside_each_other("story", story, -(-wanted // DEATHS))


def pairs(wanted: int) -> int:
    """Batches of two daemons on one file until `wanted` pairs were started; returns the exit code."""
    return beside_each_other("pair", pair, wanted)


def beside_each_other(kind: str, tell: Callable[..., Found], count: int) -> int:
    first = next_seed(kind)
    for start in range(first, first + count, STORY_BATCH):
        seeds = range(start, min(start + STORY_BATCH, first + count))
        with kitchen(len(seeds)) as (dovecot, postgres, reps), ProcessPoolExecutor(len(seeds)) as pool:
            there = replace(dovecot, _process=None)  # it runs on here
            every = [*pool.map(partial(tell, there, postgres), seeds, reps)]
        broken = [fault for _, found in every for fault in found]
        deaths = Counter(death.split()[0] for died, _ in every for death in died)
        met = f"{sum(deaths.values())} deaths ({', '.join(f'{n} {how}' for how, n in sorted(deaths.items()))})"
        write_down(kind, seeds, met, len(broken))
        if broken:
            print("\n".join(broken))
            return 1
    return 0


def broken_messages(wanted: int) -> int:
    """Batches of mutated messages, each read by the classifier, until `wanted` are through; returns the exit code."""
    among = mutations.originals()
    first = next_seed("mutation")
    for start in range(first, first + wanted, MUTATION_BATCH):
        seeds = range(start, min(start + MUTATION_BATCH, first + wanted))
        began = time.process_time()
        broken = [fault for seed in seeds if (fault := mutations.fault(seed, among))]
        each = (time.process_time() - began) / len(seeds) * 1000
        write_down("mutation", seeds, f"{len(among)} messages mutated, {each:.1f} ms each", len(broken))
        if broken:
            print("\n".join(broken))
            return 1
    return 0


@contextlib.contextmanager
def kitchen(reps: int):  # type: ignore[no-untyped-def]
    """Dovecot and PostgreSQL for some stories, each with a mailbox and a database of its own."""
    with tempfile.TemporaryDirectory(prefix="whoelse-") as folder, contextlib.ExitStack() as stack:
        Path(folder).chmod(0o711)
        names = [f"rep{number}@demo.test" for number in range(reps)]
        dovecot = stack.enter_context(servers.dovecot(Path(folder) / "dovecot", dict.fromkeys(names, "secret")))
        postgres = stack.enter_context(servers.postgres(Path(folder) / "postgres"))
        yield dovecot, postgres, names


def story(dovecot: servers.Dovecot, postgres: str, seed: int, rep: str) -> Found:
    """The deaths of one story, and what did not hold. The seed says on which database, and who files Sent."""
    store = "whoelse.db" if seed % 2 else servers.new_database(postgres)
    planned = crash.blows(crash.POINTS, random.Random(seed))[:DEATHS]
    return told(dovecot, rep, store, ("server", "append")[seed // 2 % 2], seed, lambda story: story.tell(planned))


def pair(dovecot: servers.Dovecot, _: str, seed: int, rep: str) -> Found:
    """How one of two daemons on one file was struck, and what did not hold."""
    return told(dovecot, rep, "whoelse.db", ("server", "append")[seed % 2], seed, crash.Story.pair)


def told(
    dovecot: servers.Dovecot, rep: str, store: str, sent: str, seed: int, tell: Callable[[crash.Story], None]
) -> Found:
    with tempfile.TemporaryDirectory(prefix="whoelse-story-") as folder, crash.accepting() as server:
        story = crash.Story(Path(folder), dovecot, [rep], server, store, sent, seed)
        tell(story)
        found = [f"seed {seed}: {fault} (deaths: {story.deaths})" for fault in story.faults()]
        story.inst.store.close()
        return story.deaths, found


def main(kind: str, number: int) -> int:
    began = time.monotonic()
    match kind:
        case "storms":
            code = storms(number)
        case "stories":
            code = stories(number)
        case "pairs":
            code = pairs(number)
        case "mutations":
            code = broken_messages(number)
        case "crossings":
            code = crossings(number)
        case "crossing":
            found, who = faults.crossing(number)
            print(found or f"everything held; first was the {who}")
            code = len(found)
        case "mutation":
            found = mutations.fault(number, mutations.originals())
            print(found or "everything held")
            code = len(found)
        case "storm":
            broken, _ = faults.storms([number])
            print("\n".join(broken) or "everything held")
            code = len(broken)
        case _:
            with kitchen(1) as (dovecot, postgres, reps):
                _, found = (pair if kind == "pair" else story)(dovecot, postgres, number, reps.pop())
            print("\n".join(found) or "everything held")
            code = len(found)
    print(f"{kind} {number}: {time.monotonic() - began:.0f} s")
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], int(sys.argv[2])))
