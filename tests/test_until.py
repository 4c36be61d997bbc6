"""The first day back, from the words of an absence note and the day on which it was sent (a Monday, unless said otherwise)."""

from __future__ import annotations

from datetime import UTC, date, datetime

import pytest

from engine.core.classify.until import until

MONDAY = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)


def back(text: str, sent: datetime = MONDAY) -> str | None:
    found = until((text,), sent)
    return found.isoformat() if found else None


@pytest.mark.parametrize(
    ("text", "day"),
    [
        ("I am back on Monday 9 March.", "2026-03-09"),
        ("Back in the office March 9th, 2026", "2026-03-09"),
        ("I will return on 2026-03-10.", "2026-03-10"),
        ("Out from 2 March to 6 March.", "2026-03-09"),  # the 6th is a Friday
        ("away 2 - 4 March", "2026-03-05"),
        ("I am away through Wednesday, March 11.", "2026-03-12"),
        ("until Tuesday 10 March inclusive", "2026-03-11"),
        ("Out of office until 10 March.", "2026-03-10"),
        ("back tomorrow", "2026-03-03"),
        ("I'll be back on Thursday.", "2026-03-05"),
        ("returning on the 12th", "2026-03-12"),
        ("closed 27/02 - 06/03. Back 09/03/2026.", "2026-03-09"),  # 27/02 proves the order
        ("Away since 23 February, back 5 March. Sent 2 March.", "2026-03-05"),
        ("bis einschließlich 10. März im Urlaub", "2026-03-11"),
        ("ab dem 9. März wieder im Büro", "2026-03-09"),
        ("vom 02.03. bis 06.03. nicht im Haus", "2026-03-09"),
        ("in KW 10 im Urlaub, ab KW 11 wieder da", "2026-03-09"),
        ("de retour le lundi 9 mars", "2026-03-09"),
        ("absent jusqu'au 10 mars inclus", "2026-03-11"),
        ("vuelvo el 9 de marzo", "2026-03-09"),
        ("hasta el 10 de marzo inclusive", "2026-03-11"),
        ("rientro il 9 marzo", "2026-03-09"),
        ("afwezig tot en met 10 maart", "2026-03-11"),
        ("op 9 maart weer terug", "2026-03-09"),
        ("retorno em 09/03/2026 e 20/03 é feriado", "2026-03-09"),
        ("do 10 marca włącznie", "2026-03-11"),
        ("wracam 9 marca", "2026-03-09"),
        ("är tillbaka måndag v. 11", "2026-03-09"),
        ("til og med 10. marts", "2026-03-11"),
        ("tilbage den 9. marts", "2026-03-09"),
        ("palaan töihin 9.3.", "2026-03-09"),
        ("vrátím se v pondělí 9. března", "2026-03-09"),
        ("3月2日から3月6日まで休暇、3月9日より出社", "2026-03-09"),
        ("3月9日恢复上班", "2026-03-09"),
    ],
)
def test_the_first_day_back(text: str, day: str) -> None:
    assert back(text) == day


@pytest.mark.parametrize(
    "text",
    [
        "I am away.",
        "Out until 3/4.",  # 3 April or March 4
        "I was back on 20 February.",
        "Back on 1 September.",  # more than 90 days
        "Call me on 5 March at 10:30.",
        "The meeting of 9 March is cancelled.",
    ],
)
def test_no_date_is_better_than_a_guess(text: str) -> None:
    assert back(text) is None


def test_a_day_without_a_year_may_be_in_the_next() -> None:
    assert back("back on 4 January", datetime(2026, 12, 21, tzinfo=UTC)) == "2027-01-04"


def test_the_first_text_that_names_a_day_is_believed() -> None:
    assert until(("I am away.", "back on 5 March"), MONDAY) == date(2026, 3, 5)


def test_without_a_date_header_nothing_is_known() -> None:
    assert until(("back on 5 March",), None) is None
