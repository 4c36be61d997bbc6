"""The main job over real sockets: enroll, send through Postfix, read from Dovecot, advance or stop. The daemon is the real one."""

from __future__ import annotations

from pathlib import Path

import servers
from world import World, world

from engine.core.model import State


async def test_a_reply_stops_what_was_to_come(tmp_path: Path, dovecot: servers.Dovecot, postfix: servers.Postfix) -> None:
    async with world(tmp_path, dovecot, postfix) as there:
        dana = there.dana
        enrolled = there.enroll(
            dana,
            "value_review",
            review_call=(there.clock.now().isoformat(timespec="seconds").replace("+00:00", "Z")),
            problems=["closing took ten days"],
            results=["closing in three days: delivered"],
        )
        first = await there.later(lambda: there.mail(dana), "the first email")
        there.answer(dana, first[-1], "I am not sure what you mean. Can we talk about that next month?")
        await there.later(lambda: state(there, enrolled.id) is State.PAUSED, "the pause")
        sent = len(there.mail(dana))
        there.jump(days=30)
        await there.settle()
        assert len(there.mail(dana)) == sent


def state(there: World, enrollment: str) -> State | None:
    found = there.inst.store.enrollment(enrollment)
    return found.state if found else None
