"""What is kept on a person is shown to them whole, and when they are forgotten nothing of it is left: not in a row, not in the file."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict
from datetime import timedelta
from pathlib import Path
from typing import Any

import office
import pytest
from office import BARRY, DANA, LEE, MONDAY, SAM, SUE, Office
from test_cli import Whoelse, enrolled, inst, project, whoelse  # noqa: F401

from engine.cli.output import _plain
from engine.core.model import OutboxState, State
from engine.enrollments import Wish, enroll
from engine.errors import UserError
from engine.installation import Installation
from engine.privacy import export, forget
from engine.store import open_store

either_url = office.either_database
store = office.either_store


@pytest.fixture
def there(store: Any, tmp_path: Path) -> Office:
    """Dana named Barry and Sue and introduced Barry; Barry was written to and answered; Lee is a colleague who waits."""
    there = Office(store, tmp_path)
    return lived(there)


def lived(there: Office) -> Office:
    there.confirmed(DANA)
    ask = there.enroll(DANA, "ask")
    there.work()
    there.later(hours=1)
    there.hear("Talk to Barry Jones, barry@north.test, and Sue Okoro, sue@harbour.test.", to=there.rows(ask)[0])
    there.run(days=2)
    outreach = there.enroll(BARRY, "both", prospect={"name": "Barry Jones", "email": BARRY}, client=DANA)
    there.run(hours=8)
    (mail,) = [m for m in there.rows(outreach) if m.step == "first"]
    there.hear("Dana Whitfield told me about you. Call me.", sender=BARRY, to=mail)
    there.enroll(LEE, "nudge")
    there.store.tell(there.now, "note", "lee waits because DANA@ACME.TEST was asked")
    return there


def words_of(there: Office) -> str:
    """Every word in every row that the store gives."""
    rows: list[Any] = [*there.store.contacts(), *there.store.referrals(), *there.store.suppressions()]
    rows += [*there.store.all_enrollments(), *there.store.open_tasks(), *there.store.recent_inbound(1000)]
    rows += there.store.history_since(MONDAY - timedelta(days=9))
    for state in OutboxState:
        rows += there.store.outbox_in(state)
    return json.dumps([asdict(row) for row in rows], default=repr).lower()


# --- access ----------------------------------------------------------------------------------------------------------


def test_everything_that_is_kept_on_a_client_is_exported(there: Office) -> None:
    found = json.loads(json.dumps(export(there.store, DANA.upper()), default=_plain))
    assert found["contact"]["name"] == "Dana Whitfield" and found["addresses"] == [DANA]
    assert {"ask", "intro"} == {e["sequence"] for e in found["enrollments"]}
    assert "who_else" in {m["step"] for m in found["emails_to_them"]} and "raw" not in found["emails_to_them"][0]
    assert "told" in {m["step"] for m in found["emails_to_them"]}, "an email within another's sequence, too"
    assert any("Talk to Barry" in m["text"] for m in found["answers_of_theirs"])
    assert len(found["referrals_by_them"]) == 2 and found["history"] and found["tasks"] is not None
    assert [e["sequence"] for e in found["enrollments_about_them"]] == ["both"]
    assert any("Dana Whitfield told me" in m["text"] for m in found["mentioned_in"])


def test_a_prospect_who_was_only_named_is_found_too(there: Office) -> None:
    found = export(there.store, SUE)
    assert found["contact"] is None and [r["prospect"]["name"] for r in found["referrals_of_them"]] == ["Sue Okoro"]
    assert [e["sequence"] for e in found["enrollments_about_them"]] == ["intro"]
    assert any("Talk to Barry Jones" in m["text"] for m in found["mentioned_in"])


def test_of_whom_nothing_is_kept_nothing_is_told(there: Office) -> None:
    for verb in (lambda: export(there.store, "no@body.test"), lambda: forget(there.inst, "no@body.test", there.now)):
        with pytest.raises(UserError, match="nothing is stored on no@body.test"):
            verb()


# --- erasure ---------------------------------------------------------------------------------------------------------


def test_a_client_is_erased_everywhere_and_what_they_referred_still_counts(there: Office) -> None:
    assert "whitfield" in words_of(there) and DANA in words_of(there)
    done = forget(there.inst, DANA, there.now)
    assert done.stopped > 0 and done.referrals == 2
    left = words_of(there)
    assert "whitfield" not in left and DANA not in left and "dana" not in left
    assert there.store.contact_at(DANA) is None
    assert sorted(r.prospect.name for r in there.store.referrals()) == ["Barry Jones", "Sue Okoro"]
    assert there.store.contact_at(LEE) is not None and there.state("nudge") is State.ACTIVE
    with pytest.raises(UserError, match="nothing is stored"):
        export(there.store, "dana@elsewhere.test")


def test_a_prospect_is_erased_and_the_client_is_not(there: Office) -> None:
    forget(there.inst, BARRY, there.now)
    left = words_of(there)
    assert "barry" not in left and BARRY not in left
    assert "whitfield" in left and there.store.contact_at(DANA)
    referrals = {r.prospect.name: r for r in there.store.referrals()}
    assert set(referrals) == {"", "Sue Okoro"} and referrals[""].prospect.email == ""
    assert [e.outcome for e in there.store.all_enrollments() if e.sequence == "intro" and not e.variables] == [
        "forgotten"
    ]


def test_who_was_only_named_is_erased_too(there: Office) -> None:
    forget(there.inst, SUE, there.now)
    assert "okoro" not in words_of(there) and SUE not in words_of(there)


def test_what_runs_is_stopped_before_anything_is_erased(there: Office) -> None:
    running = [e.id for e in there.store.all_enrollments() if e.contact != there.store.contact_at(LEE).id]  # type: ignore[union-attr]
    forget(there.inst, DANA, there.now)
    left = {e.id: e for e in there.store.all_enrollments()}
    assert all(left[id].state is State.STOPPED for id in running if id in left)
    there.run(days=90)
    sent = [
        m.recipient
        for m in there.store.outbox_in(OutboxState.SENT)
        if m.sent_at and m.sent_at > MONDAY + timedelta(days=3)
    ]
    assert set(sent) <= {LEE}


def test_who_was_forgotten_is_never_written_to_again(there: Office) -> None:
    forget(there.inst, DANA, there.now)
    kept = there.store.suppressed(DANA)
    assert kept and (kept.address, kept.reason) == ("", "forgotten")
    refused = enroll(there.inst, Wish(DANA, "nudge", {}, SAM, contact={"name": "Dana W"}), there.now)
    assert isinstance(refused, list) and [r.rule for r in refused] == ["suppressed"]
    assert there.store.contact_at(DANA) is None, "and nothing is kept by trying"


def test_an_earlier_opt_out_survives_as_its_hash(there: Office) -> None:
    there.store.suppress(DANA, "unsubscribed", MONDAY)
    forget(there.inst, DANA, there.now)
    kept = there.store.suppressed(DANA)
    assert kept and (kept.address, kept.reason) == ("", "unsubscribed")


def test_a_message_that_is_found_again_in_the_mailbox_is_not_kept_anew(there: Office) -> None:
    """The server gives out new numbers, and everything is read once more."""
    raw = there.mail("A word of mine.", to=there.rows("ask")[0])
    assert there.receive(raw).row
    forget(there.inst, DANA, there.now)
    there.receive(raw, uidvalidity=2)
    assert DANA not in words_of(there) and "a word of mine" not in words_of(there)


def test_a_client_who_was_forgotten_starts_nothing_as_a_referrer(there: Office) -> None:
    forget(there.inst, DANA, there.now)
    assert DANA not in [c.email for c in there.store.referrers()]
    assert all("@" in c.email for c in (*there.store.clients(), *there.store.referrers(), *there.store.contacts()))


def test_nobody_is_forgotten_by_half(there: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    before = words_of(there)

    def full(*_: object) -> None:
        raise RuntimeError("the disk is full")

    monkeypatch.setattr(there.store, "suppress_hash", full)
    with pytest.raises(RuntimeError):
        forget(there.inst, DANA, there.now)
    assert words_of(there) == before


@pytest.fixture
def in_a_file(tmp_path: Path) -> Iterator[tuple[Office, Path]]:
    kept = open_store(str(tmp_path / "w.db"))
    yield lived(Office(kept, tmp_path)), tmp_path
    kept.close()


def test_not_a_byte_of_them_is_left_in_the_file(in_a_file: tuple[Office, Path]) -> None:
    there, folder = in_a_file
    content = lambda: b"".join(f.read_bytes() for f in folder.glob("w.db*")).lower()
    assert b"whitfield" in content()
    forget(there.inst, DANA, there.now)
    assert b"whitfield" not in content() and DANA.encode() not in content()
    assert b"okoro" in content()


# --- the commands ----------------------------------------------------------------------------------------------------


def test_export_is_one_document_and_forget_wants_a_yes(whoelse: Whoelse, inst: Installation) -> None:  # noqa: F811
    enrolled(inst)
    told = json.loads(whoelse("export", "dana@acme.example").out)
    assert told["contact"]["email"] == "dana@acme.example"
    asked = whoelse("forget", "dana@acme.example")
    assert asked.code == 1 and "--yes" in asked.err and inst.store.contact_at("dana@acme.example")
    done = whoelse("forget", "dana@acme.example", "--yes")
    assert done.code == 0 and "dana@acme.example is forgotten: 1 enrollment stopped" in done.out
    assert whoelse("export", "dana@acme.example").code == 0, "the hash is still found by who knows the address"
    assert json.loads(whoelse("export", "dana@acme.example").out)["contact"] is None
    assert whoelse("export", "lee@acme.example").code == 1
