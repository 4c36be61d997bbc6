"""The rules of conduct, one sentence each: what stands between a wish to enroll somebody and doing it."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.core.conduct import RULES, Standing, refusal, refusals
from engine.core.sequence import Sequence

KINDS = ("review", "ask", "intro", "follow_up", "thanks", "update", "outreach", "favour", "touch")

NOW = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)
DAY = timedelta(days=1)
ASK = Sequence("ask", "Ask", "ask", "client", ())
TOUCH = Sequence("touch", "Touch", "touch", "client", ())
GOOD = Standing("dana@acme.test", confirmed_at=NOW - DAY)


def rule(sequence: Sequence, standing: Standing) -> str:
    found = refusal(sequence, standing, NOW)
    if found:
        assert "dana@acme.test" in found.reason + found.remedy and found.remedy
    return found.rule if found else ""


def test_nothing_stands_against_a_client_who_has_confirmed_and_was_not_asked() -> None:
    assert rule(ASK, GOOD) == rule(TOUCH, Standing("dana@acme.test")) == ""


@pytest.mark.parametrize(
    "kind", ["review", "ask", "intro", "follow_up", "thanks", "update", "outreach", "favour", "touch"]
)
def test_a_suppressed_address_and_a_running_twin_are_final_for_every_kind(kind: str) -> None:
    sequence = replace(TOUCH, kind=kind)
    for standing, expected in (
        (replace(GOOD, suppressed="bounced"), "suppressed"),
        (replace(GOOD, running="held"), "running"),
    ):
        found = refusal(sequence, standing, NOW)
        assert found and found.rule == expected and not found.override


def test_an_ask_needs_value_confirmed_within_a_year_and_so_does_whatever_requires_it() -> None:
    for at, expected in ((None, "confirmed"), (NOW - 366 * DAY, "confirmed"), (NOW - 365 * DAY, ""), (NOW, "")):
        standing = replace(GOOD, confirmed_at=at)
        assert rule(ASK, standing) == rule(replace(TOUCH, requires="confirmed"), standing) == expected
        assert rule(TOUCH, standing) == ""


@pytest.mark.parametrize(
    ("standing", "expected"),
    [
        (replace(GOOD, rest_until=NOW + DAY), "resting"),
        (replace(GOOD, rest_until=NOW), ""),
        (replace(GOOD, asked=(NOW - DAY, "dana@acme.test")), "asked"),
        (replace(GOOD, conversation=NOW - DAY), "conversation"),
    ],
)
def test_the_rules_for_an_ask_alone_may_be_overridden_with_a_reason(standing: Standing, expected: str) -> None:
    assert rule(ASK, standing) == expected
    assert rule(TOUCH, standing) == ""
    found = refusal(ASK, standing, NOW)
    assert found is None or found.override


def test_the_gravest_rule_is_the_one_that_is_named() -> None:
    every = Standing("dana@acme.test", "bounced", "held", None, (NOW, "dana@acme.test"), NOW, NOW + DAY)
    order = []
    for changed in (
        {}, {"suppressed": ""}, {"running": ""}, {"confirmed_at": NOW}, {"rest_until": None}, {"asked": None}, {"conversation": None},
    ):  # fmt: skip
        every = replace(every, **changed)  # type: ignore[arg-type]
        order.append(rule(ASK, every))
    assert order == ["suppressed", "running", "confirmed", "resting", "asked", "conversation", ""]


# --- as properties ---------------------------------------------------------------------------------------------------

instants = st.none() | st.integers(-400, 100).map(lambda days: NOW + days * DAY)
standings = st.builds(
    Standing,
    email=st.just("dana@acme.test"),
    suppressed=st.sampled_from(["", "bounced", "unsubscribed"]),
    running=st.sampled_from(["", "held"]),
    confirmed_at=instants,
    asked=st.none() | instants.filter(bool).map(lambda at: (at, "lee@acme.test")),
    conversation=instants,
    rest_until=instants,
    refused_until=instants,
    favoured=instants,
)
sequences = st.sampled_from([replace(TOUCH, kind=kind) for kind in KINDS])


@given(sequences, standings)
def test_what_no_reason_overrides_always_comes_first_and_every_refusal_says_what_to_do(
    sequence: Sequence, standing: Standing
) -> None:
    found = list(refusals(sequence, standing, NOW))
    finals = [each.override for each in found]
    assert finals == sorted(finals), "an override that looks at the first alone must never pass a final one"
    assert refusal(sequence, standing, NOW) == (found[0] if found else None)
    assert all(each.rule in RULES and each.reason and each.remedy for each in found)
    assert bool(standing.suppressed or standing.running) == (not all(finals))


@given(standings)
def test_nobody_is_asked_who_has_not_confirmed_or_rests_or_was_asked_or_is_talking(standing: Standing) -> None:
    earned = standing.confirmed_at is not None and NOW - standing.confirmed_at <= 365 * DAY
    free = not (standing.suppressed or standing.running or standing.asked or standing.conversation)
    rested = standing.rest_until is None or standing.rest_until <= NOW
    assert (refusal(ASK, standing, NOW) is None) == (earned and free and rested)


@given(sequences, standings)
def test_whatever_is_known_more_of_somebody_never_lifts_a_rule(sequence: Sequence, standing: Standing) -> None:
    """What was refused stays refused when one more rule stands against it; only a later confirmation opens the ask."""
    before = {each.rule for each in refusals(sequence, standing, NOW)}
    for more in ({"suppressed": "bounced"}, {"running": "held"}, {"rest_until": NOW + DAY}, {"favoured": NOW}):
        after = {each.rule for each in refusals(sequence, replace(standing, **more), NOW)}  # type: ignore[arg-type]
        assert before <= after
