"""A copy in Bcc: who gets it, who sees it, what becomes of the email when it is refused, and whose an answer to it is."""

from __future__ import annotations

from collections.abc import Callable
from email import message_from_bytes

import office
import pytest
from office import BARRY, BARRY_PERSON, DANA, SAM, Office, library

from engine import outbox
from engine.core.compose import own_copy
from engine.core.model import Event, OutboxMessage, OutboxState, State
from engine.letters import unsubscribe_token
from engine.outbox import NeedsRead
from engine.smtp import Accepted, Missed

SEQUENCE = """
name: Answer
kind: outreach
to: prospect
needs: {prospect: person}
steps:
  - {id: answer, email: outreach, bcc: client, approve: true}
when:
  reply: {pause: waiting_for_rep}
  declined: {stop: declined}
"""


INTRODUCES = """
name: Introduces
kind: touch
to: client
steps:
  - {id: first, email: hello}
when:
  introduced: {stop: introduced, start: answer}
"""
new_office = office.new_office


@pytest.fixture
def there(new_office: Callable[..., Office]) -> Office:
    return new_office(books=library({"answer": SEQUENCE, "introduces": INTRODUCES}))


def draft(there: Office) -> OutboxMessage:
    there.enroll(DANA, "other")
    there.work()
    there.enroll(BARRY, "answer", client=DANA, prospect=BARRY_PERSON)
    there.work()
    return outbox.drafts(there.inst)[0]


def sent(there: Office, result: Accepted = Accepted("250 ok")) -> OutboxMessage:  # noqa: B008
    assert outbox.approve(there.inst, draft(there), there.now)
    return there.work(result)[0]


def test_the_copy_is_in_the_envelope_and_in_no_header(there: Office) -> None:
    message = sent(there)
    assert (message.recipient, message.bcc) == (BARRY, (DANA,))
    assert DANA.encode() not in message.raw
    assert message_from_bytes(own_copy(message.raw, message.bcc))["Bcc"] == DANA  # the rep's own copy says it
    assert there.store.outbox_of(message.enrollment)[0].bcc == (DANA,)


def test_a_refused_copy_is_told_and_the_email_is_sent(there: Office) -> None:
    message = sent(there, Accepted("250 ok", (Missed(DANA, "550 5.1.1 no such user", True),)))
    row = there.store.outbox_message(message.id)
    assert row and row.state is OutboxState.SENT and f"no copy to {DANA}: 550" in row.note
    suppressed = there.store.suppressed(DANA)
    assert suppressed and suppressed.reason == "bounced"  # final, however it is learned
    assert not there.store.suppressed(BARRY)
    assert not there.work(), "the recipient gets it no second time"


def test_a_copy_that_is_put_off_is_not_made_up_for(there: Office) -> None:
    sent(there, Accepted("250 ok", (Missed(DANA, "451 4.7.1 greylisted", False),)))
    assert not there.store.suppressed(DANA) and not there.work()


def test_who_asked_for_no_more_mail_gets_no_copy_and_the_rep_is_asked_again(there: Office) -> None:
    assert outbox.approve(there.inst, draft(there), there.now)
    there.store.suppress(DANA, "unsubscribed", there.now)
    assert not there.work()
    assert outbox.drafts(there.inst)[0].note == "its Bcc has changed since it was approved"


def test_an_answer_of_whoever_had_the_copy_is_their_own(there: Office) -> None:
    message = sent(there)
    there.hear("Thank you, that was quick. I am glad that the two of you talk.", sender=DANA, to=message)
    assert there.state("answer") is State.LISTENING  # Barry has said nothing
    assert there.state("other") is State.PAUSED
    there.hear("Yes, let us talk on Thursday please.", sender=BARRY, to=message)
    assert there.state("answer") is State.PAUSED


@pytest.mark.parametrize(("status", "suppressed"), [("5.1.1", True), ("5.2.2", False), ("4.4.1", False)])
def test_a_report_about_the_copy_is_not_about_the_email(there: Office, status: str, suppressed: bool) -> None:
    message = sent(there)
    there.receive(there.report(message, status, recipient=DANA))
    assert bool(there.store.suppressed(DANA)) == suppressed and not there.store.suppressed(BARRY)
    assert there.state("answer") is State.LISTENING
    row = there.store.outbox_message(message.id)
    assert row and row.state is OutboxState.SENT


def test_a_report_that_does_not_say_whom_it_means_is_for_the_rep_to_look_at(there: Office) -> None:
    message = sent(there)
    there.receive(
        f"From: MAILER-DAEMON@mx.test\r\nTo: {SAM}\r\nSubject: Undelivered Mail Returned to Sender\r\n"
        "Message-ID: <dsn@mx.test>\r\nMIME-Version: 1.0\r\nAuto-Submitted: auto-replied\r\n"
        'Content-Type: multipart/report; report-type=delivery-status; boundary="b"\r\n\r\n'
        "--b\r\nContent-Type: text/plain\r\n\r\nIt could not be delivered.\r\n"
        "--b\r\nContent-Type: message/delivery-status\r\n\r\nReporting-MTA: dns; mx.test\r\n\r\n"
        "Action: failed\r\nStatus: 5.1.1\r\n\r\n"
        f"--b\r\nContent-Type: text/rfc822-headers\r\n\r\nMessage-ID: {message.message_id}\r\n\r\n--b--\r\n".encode()
    )
    assert there.state("answer") is State.PAUSED
    assert not there.store.suppressed(BARRY) and not there.store.suppressed(DANA)


def test_the_client_who_unsubscribes_from_the_copy_does_not_unsubscribe_the_prospect(there: Office) -> None:
    message = sent(there)
    token = unsubscribe_token(there.inst, there.of("answer"), BARRY)
    there.hear("", sender=DANA, to=message, subject=f"unsubscribe {token}")
    assert there.store.suppressed(DANA) and not there.store.suppressed(BARRY)
    row = there.store.inbound_of(there.of("other").contact)[-1]
    assert row.event == Event.UNSUBSCRIBED


def test_what_answers_a_message_leaves_only_after_the_mailbox_was_read(there: Office) -> None:
    """A first word to the prospect, but whoever is in the thread of the introduction may have said more since."""
    there.enroll(DANA, "introduces")
    first = there.work()[0]
    words = f"Barry, meet Sam. Sam helped us with the closing. Barry Jones <{BARRY}>"
    there.hear(words, to=first, To=f"Barry Jones <{BARRY}>", Cc=SAM, subject="Introduction")
    there.work()
    assert there.of("answer").cause
    assert outbox.approve(there.inst, outbox.drafts(there.inst)[0], there.now)
    there.later(minutes=2)
    assert isinstance(there.claim(), NeedsRead)
