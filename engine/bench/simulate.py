"""A year with very many clients on a virtual clock, by the verbs that send: what one enrollment costs among many, against one
among few."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from engine.bench import project
from engine.bench.harness import Ground, Row, compare, seconds
from engine.core.model import Enrollment
from engine.installation import Installation
from engine.simulate import Simulation, sample_wish

BEGIN = datetime(2026, 3, 2, 9, 30, tzinfo=UTC)
SEQUENCE, YEAR = "ask", timedelta(days=365)


def measure(ground: Ground) -> Iterator[Row]:
    few, many = ground.pick((2, 4), (100, 1_000), (100, 10_000))
    inst = project.opened(project.make(ground.fresh("simulate"), project.UNUSED_PORT), ground)
    wide = replace(inst.config, mailboxes=(replace(inst.config.mailboxes[0], per_day=many),))
    inst = replace(inst, config=wide)
    row = compare(
        "simulate", "<=", 1.2, lambda: each(inst, many, 1), lambda: each(inst, few, many // few), "ms",
        pairs=ground.pick(1, 3, 1),
    )  # fmt: skip
    years = 1000 / (row.engine or 1)
    yield replace(row, note=f"for one year of one of {many:,}, against one of {few:,}: {years:,.0f} years a second")


def each(inst: Installation, people: int, times: int) -> float:
    """Processor time for one of so many, from the wish to the end; so often that engine and reference take as long."""
    return 1000 * seconds(lambda: lived(inst, people), times, time.process_time) / people


def lived(inst: Installation, people: int) -> None:
    simulation = Simulation(inst, BEGIN)
    wish = sample_wish(inst, SEQUENCE, BEGIN)
    for number in range(people):
        person = {"name": f"Dana Weber {number}", "company": f"Client {number}"}
        entered = simulation.enroll(replace(wish, email=f"dana@client{number}.example", contact=person))
        assert isinstance(entered, Enrollment), entered
    simulation.run(BEGIN + YEAR)
    outcomes = [e.outcome for e in simulation.book.all_enrollments()]
    assert outcomes == ["no_answer"] * people, set(outcomes)
