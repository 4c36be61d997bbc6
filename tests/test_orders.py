"""What a rep may write back: only what is plainly an order is one."""

from __future__ import annotations

import pytest

from engine.core.orders import MARKER, Order, objection, read_orders


def found(text: str) -> list[tuple[str, str, str]]:
    return [(o.key, o.word, o.rest) for o in read_orders(text)[0]]


@pytest.mark.parametrize(
    ("line", "order"),
    [
        ("3 declined", ("3", "declined", "")),
        ("3. declined", ("3", "declined", "")),
        ("3: Declined.", ("3", "declined", "")),
        ("#3 - declined", ("3", "declined", "")),
        ("(3) declined", ("3", "declined", "")),
        ("a1b2 approve", ("a1b2", "approve", "")),
        ("A1B2 Approved", ("a1b2", "approve", "")),
        ("draft 2 approve", ("2", "approve", "")),
        ("approve 2", ("2", "approve", "")),
        ("approve draft 2", ("2", "approve", "")),
        ("task 4 done", ("4", "done", "")),
        ("task 4 done, she is on holiday", ("4", "done", "she is on holiday")),
        ("3 named Barry Jones <barry@north.test>", ("3", "named", "Barry Jones <barry@north.test>")),
        ("5 not-sent", ("5", "not-sent", "")),
        ("approve", ("", "approve", "")),
        ("  2\tapprove  ", ("2", "approve", "")),
        ("3 declined but ask her in May", ("3", "declined", "but ask her in May")),
    ],
)
def test_a_number_and_a_word_are_an_order(line: str, order: tuple[str, str, str]) -> None:
    assert found(f"Morning!\n\n{line}\n\nSam\n+49 30 1234567") == [order]


@pytest.mark.parametrize(
    "line",
    [
        "I do not approve 2",
        "2 approver",
        "2",
        "please do not stop",
        "yes",
        "4 approve-it",
        "> 2 approve",
        "| 2 approve",
        "not 2 approve",
        "approve all",
        "2 and 3 approve",
    ],
)
def test_what_is_not_plainly_an_order_is_none(line: str) -> None:
    assert found(line) == []


def test_nothing_below_our_own_first_line_is_an_order_however_it_is_quoted() -> None:
    orders, strange = read_orders(
        f"1 done\n\n-----Original Message-----\nFrom: Sam\n{MARKER}, a line for each\n2 approve\n3 stop"
    )
    assert [o.key for o in orders] == ["1"]
    assert strange == ()
    assert read_orders(f"*{MARKER}*: the number\n2 approve")[0] == ()


def test_what_may_have_been_meant_is_named_and_greetings_are_not() -> None:
    orders, strange = read_orders("Good morning\n1 done\n2 whatever you think\napprove everything\nBest, Sam\n")
    assert [o.key for o in orders] == ["1"]
    assert strange == ("2 whatever you think", "approve everything")


def test_a_mail_without_any_order_is_shown_as_it_is() -> None:
    assert read_orders("Who is Dana?\n")[1] == ("Who is Dana?",)
    assert len(read_orders("word\n" * 100)[1]) == 5


def test_orders_are_bounded() -> None:
    orders, strange = read_orders("1 done\n" * 10_000)
    assert (len(orders), len(strange)) == (50, 5)


@pytest.mark.parametrize(
    ("line", "kind", "part"),
    [
        ("3 approve", "answer", "that is settled by confirmed"),
        ("3 declined, or maybe not", "answer", "stands alone"),
        ("3 approve but change the date", "draft", "whoelse drafts edit"),
        ("3 named", "answer", "say whom"),
        ("3 named Barry Jones <barry@north.test>", "answer", ""),
        ("3 done, called her", "task", ""),
        ("3 approve", "draft", ""),
    ],
)
def test_a_word_that_does_not_fit_says_why(line: str, kind: str, part: str) -> None:
    (order,) = read_orders(line)[0]
    assert isinstance(order, Order)
    why = objection(order, kind)
    assert part in why and bool(part) == bool(why)
