"""What the daemon does whenever it looks and nothing is due, with a million people in the store against a thousand."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime

from engine import enrollments, outbox, triggers
from engine.bench import project
from engine.bench.crowd import with_crowd
from engine.bench.harness import Ground, Row, compare_in_slices
from engine.core.model import OutboxState
from engine.installation import Installation


def measure(ground: Ground) -> Iterator[Row]:
    few = ground.pick(10, 1_000)
    sizes = [("tick/1M", ground.pick(100, 1_000_000), 1.2)]
    if ground.size == "full":
        sizes.append(("tick/10M", 10_000_000, 1.5))
    for name, many, target in sizes:
        if ground.wants(name):
            yield row(ground, name, many, few, target)


def row(ground: Ground, name: str, many: int, few: int, target: float) -> Row:
    now = datetime.now(UTC)
    with among(ground, many, now) as large, among(ground, few, now) as small:
        slices, times = ground.pick((1, 2), (30, 10))
        note = f"{many:,} enrollments of which none is due, against {few:,}"
        return compare_in_slices(
            name, target, lambda: idle(large, now), lambda: idle(small, now), slices=slices, times=times,
            pairs=ground.pairs, note=note,
        )  # fmt: skip


@contextmanager
def among(ground: Ground, people: int, now: datetime) -> Iterator[Installation]:
    inst = project.opened(with_crowd(ground, people, now), ground)
    with closing(inst.store):
        yield inst


def idle(inst: Installation, now: datetime) -> None:
    """All that the loops of the daemon ask when they wake."""
    triggers.advance(inst, now)
    assert enrollments.advance(inst, now) == 0
    assert inst.store.mailboxes_due(now) == []
    assert (inst.store.next_enrollment_at() or now) > now
    for mailbox in inst.config.mailboxes:
        assert isinstance(outbox.claim(inst, mailbox.address, 0, now), outbox.Nothing)
        outbox.reclaim(inst, mailbox.address, now)
        assert inst.store.unfiled(mailbox.address) == []
    assert inst.store.outbox_in(OutboxState.IN_DOUBT) == []
