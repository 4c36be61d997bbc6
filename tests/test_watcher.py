"""Reading real mailboxes: Dovecot for what servers do on good and bad days, and the embedded server of the demo."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import Future, wait
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import servers
from mailboxes import PATIENCE_SECONDS, Diary, account, fresh, letter, name_of, settled, watching

from engine.account import Account
from engine.demo.world import MailWorld
from engine.imap import Fetched, Unreadable
from engine.watcher import Watcher


@pytest.fixture
def diary() -> Diary:
    return Diary()


@pytest.fixture
def user(dovecot: servers.Dovecot) -> str:
    return fresh(dovecot)


@pytest.fixture
def watched(dovecot: servers.Dovecot, user: str, diary: Diary) -> Iterator[Watcher]:
    """The fresh mailbox, watched as "rep" and read for the first time."""
    with watching(diary) as watcher:
        watcher.add("rep", account(dovecot, user))
        assert settled(watcher.read_now("rep"))
        yield watcher


def test_the_first_read_only_records_how_far_the_mailbox_goes(
    dovecot: servers.Dovecot, user: str, diary: Diary
) -> None:
    dovecot.deliver(user, letter("old"))
    with watching(diary) as watcher:
        watcher.add("rep", account(dovecot, user))
        assert settled(watcher.read_now("rep"))
        assert diary.mail == []
        assert diary.positions["rep", "INBOX"].uid == 1
        assert {folder for _, folder in diary.positions} == {"INBOX", "Junk", "Sent", "Archive"}
        dovecot.deliver(user, letter("new"))
        diary.until_mail("new")
    assert diary.names() == ["new"]


def test_the_first_read_hands_on_what_came_since_a_given_day(dovecot: servers.Dovecot, user: str, diary: Diary) -> None:
    now = datetime.now(UTC)
    dovecot.append(user, "INBOX", letter("old"), at=now - timedelta(days=30))
    dovecot.append(user, "INBOX", letter("lately"), at=now - timedelta(days=1))
    dovecot.append(user, "INBOX", letter("old-too"), at=now - timedelta(days=20))
    diary.since = now - timedelta(days=5)
    with watching(diary) as watcher:
        watcher.add("rep", account(dovecot, user))
        assert settled(watcher.read_now("rep"))
    assert diary.names() == ["lately"]
    assert diary.positions["rep", "INBOX"].uid == 3


def test_mail_is_handed_on_when_the_server_announces_it(
    dovecot: servers.Dovecot, user: str, diary: Diary, watched: Watcher
) -> None:
    raw = letter("announced", "Grüße")
    dovecot.deliver(user, raw)
    diary.until_mail("announced")
    message = diary.mail[0]
    assert (message.mailbox, message.folder, message.kind, message.uid) == ("rep", "INBOX", "inbox", 1)
    assert message.raw.endswith(raw) and message.size == len(message.raw)
    assert message.received_at.tzinfo is UTC and abs(message.received_at - datetime.now(UTC)) < timedelta(minutes=1)


def test_reading_leaves_no_mark_on_the_reps_mail(
    dovecot: servers.Dovecot, user: str, diary: Diary, watched: Watcher
) -> None:
    dovecot.deliver(user, letter("unseen"))
    diary.until_mail("unseen")
    assert settled(watched.read_now("rep"))
    assert dovecot.flags(user) == [b"1 (FLAGS (\\Recent))"]


def test_a_read_on_demand_has_handed_on_everything_before_it_says_so(
    dovecot: servers.Dovecot, user: str, diary: Diary, watched: Watcher
) -> None:
    """The gate. SEARCH alone answers from an old view; eight times it must not."""
    for turn in range(8):
        dovecot.deliver(user, letter(f"inbox-{turn}"))
        for folder in ("Junk", "Archive", "Sent"):
            dovecot.append(user, folder, letter(f"{folder}-{turn}"))
        asked_at = datetime.now(UTC)
        assert settled(watched.read_now("rep"))
        expected = {f"{folder}-{turn}" for folder in ("inbox", "Junk", "Archive", "Sent")}
        assert expected <= set(diary.names()), (turn, diary.names())
        assert diary.reads[-1][0] == "rep" and diary.reads[-1][1] >= asked_at
    assert {message.kind for message in diary.mail} == {"inbox", "junk", "archive", "sent"}
    assert len(diary.names()) == len(set(diary.names())) == 32


def test_reads_asked_for_at_the_same_time_are_one_read(
    dovecot: servers.Dovecot, user: str, diary: Diary, watched: Watcher
) -> None:
    busy, go_on = threading.Event(), threading.Event()

    def receive(_: Fetched) -> None:
        busy.set()
        assert go_on.wait(PATIENCE_SECONDS)

    diary.receive = receive
    dovecot.deliver(user, letter("slow"))
    assert busy.wait(PATIENCE_SECONDS)
    reads = len(diary.reads)
    asked = [watched.read_now("rep") for _ in range(20)]
    go_on.set()
    assert all(map(settled, asked))
    assert len(diary.reads) == reads + 1


def test_mail_that_comes_while_another_is_handed_on_is_not_missed(
    dovecot: servers.Dovecot, user: str, diary: Diary, watched: Watcher
) -> None:
    def receive(message: Fetched) -> None:
        name = name_of(message.raw)
        if name.startswith("first"):
            dovecot.deliver(user, letter(name.replace("first", "second")))

    diary.receive = receive
    for turn in range(5):
        dovecot.deliver(user, letter(f"first-{turn}"))
        diary.until_mail(f"first-{turn}", f"second-{turn}")
    assert len(diary.mail) == 10


def test_many_messages_come_once_each_and_in_order(
    dovecot: servers.Dovecot, user: str, diary: Diary, watched: Watcher
) -> None:
    names = [f"m{i}" for i in range(120)]
    for name in names:
        dovecot.deliver(user, letter(name))
    diary.until_mail(*names)
    assert settled(watched.read_now("rep"))
    assert sorted(diary.names()) == sorted(names)
    assert [message.uid for message in diary.mail] == list(range(1, 121))


def test_a_huge_message_is_read_in_part(dovecot: servers.Dovecot, user: str, diary: Diary, watched: Watcher) -> None:
    dovecot.append(user, "INBOX", letter("small-1"))
    dovecot.append(user, "INBOX", letter("huge", "x" * 70 + ("\r\n" + "y" * 998) * 26_000))
    dovecot.append(user, "INBOX", letter("small-2"))
    assert settled(watched.read_now("rep"))
    assert diary.names() == ["small-1", "huge", "small-2"]
    huge = diary.mail[1]
    assert huge.size > 25_000_000 and len(huge.raw) == 262_144


def test_a_draft_is_not_mail(dovecot: servers.Dovecot, user: str, diary: Diary, watched: Watcher) -> None:
    """All Mail at Gmail holds drafts: half a letter is not the rep's hand."""
    dovecot.append(user, "Archive", letter("draft"), flags="\\Draft")
    dovecot.append(user, "Archive", letter("letter"))
    dovecot.append(user, "Archive", letter("last-draft"), flags="\\Draft")
    assert settled(watched.read_now("rep"))
    assert diary.names() == ["letter"]
    assert diary.positions["rep", "Archive"].uid == 3


def test_a_server_is_asked_for_one_thing_at_a_time_by_one_thread(
    dovecot: servers.Dovecot, user: str, diary: Diary, watched: Watcher
) -> None:
    """Every kind of question at once, from many threads, while mail comes: all are answered, nothing twice."""
    questions: list[Future[Any]] = []
    ask = [
        lambda i: watched.read_now("rep"),
        lambda i: watched.append_sent("rep", letter(f"sent-{i}"), datetime.now(UTC)),
        lambda i: watched.find("rep", f"<never-{i}@acme.test>"),
    ]
    threads = [
        threading.Thread(target=lambda i=i: questions.append(ask[i % 3](i)))  # type: ignore[misc]
        for i in range(30)
    ]
    for i, thread in enumerate(threads):
        thread.start()
        if i % 6 == 0:
            dovecot.deliver(user, letter(f"m{i}"))
    for thread in threads:
        thread.join()
    assert not wait(questions, PATIENCE_SECONDS).not_done
    assert [q.exception() for q in questions] == [None] * 30
    assert settled(watched.read_now("rep"))
    assert sorted(diary.names("INBOX")) == sorted(f"m{i}" for i in range(0, 30, 6))
    assert sorted(diary.names("Sent")) == sorted(f"sent-{i}" for i in range(1, 30, 3))


def test_a_dropped_connection_loses_nothing_and_repeats_nothing(
    dovecot: servers.Dovecot, user: str, diary: Diary, watched: Watcher
) -> None:
    for turn in range(3):
        dovecot.deliver(user, letter(f"before-{turn}"))
        diary.until_mail(f"before-{turn}")
        downs = len(diary.downs)
        assert dovecot.kill_sessions()
        diary.until(lambda downs=downs: len(diary.downs) > downs)
        dovecot.deliver(user, letter(f"meanwhile-{turn}"))
        diary.until_mail(f"meanwhile-{turn}")
    assert len(diary.names()) == len(set(diary.names())) == 6
    assert all("closed the connection" in sentence and not login for _, sentence, login in diary.downs)


def test_a_restart_of_the_server_loses_nothing(
    dovecot: servers.Dovecot, user: str, diary: Diary, watched: Watcher
) -> None:
    dovecot.stop()
    diary.until(lambda: diary.downs)
    assert settled(watched.read_now("rep")) is False  # not readable is not read
    dovecot.start()
    dovecot.deliver(user, letter("after"))
    diary.until_mail("after")
    assert diary.names() == ["after"]


@pytest.mark.parametrize("days", [None, 3])
def test_a_folder_that_is_numbered_anew_is_read_again_by_date(
    dovecot: servers.Dovecot, user: str, diary: Diary, watched: Watcher, days: int | None
) -> None:
    dovecot.deliver(user, letter("known"))
    diary.until_mail("known")
    first = diary.positions["rep", "INBOX"]
    diary.since = datetime.now(UTC) - timedelta(days=days) if days else None
    dovecot.renumber(user)
    diary.until(lambda: diary.positions["rep", "INBOX"].uidvalidity != first.uidvalidity)
    assert settled(watched.read_now("rep"))
    assert diary.names() == ["known"] * (2 if days else 1)  # the receiver knows it by its Message-ID
    dovecot.deliver(user, letter("new"))
    diary.until_mail("new")


def test_a_folder_that_vanishes_does_not_stop_the_others(
    dovecot: servers.Dovecot, user: str, diary: Diary, watched: Watcher
) -> None:
    with dovecot.client(user) as client:
        client.create("Spam")
        client.delete("Junk")
    dovecot.deliver(user, letter("inbox"))
    assert settled(watched.read_now("rep"))
    assert diary.names() == ["inbox"] and diary.downs == []


def test_a_message_that_cannot_be_handed_on_is_set_aside_and_the_next_goes_on(
    dovecot: servers.Dovecot, user: str, diary: Diary, watched: Watcher
) -> None:
    tries: list[str] = []

    def receive(message: Fetched) -> None:
        tries.append(name_of(message.raw))
        if tries[-1] == "poison" or tries == ["shaky"]:
            raise ValueError("what is this?")

    diary.receive = receive
    for name in ("shaky", "poison", "good"):
        dovecot.append(user, "Archive", letter(name))
    assert settled(watched.read_now("rep"))
    assert tries == ["shaky", "shaky", "poison", "poison", "poison", "good"]
    assert diary.names() == ["shaky", "good"] and diary.downs == []
    [(message, sentence)] = diary.aside
    assert name_of(message.raw) == "poison" and "what is this?" in sentence


def test_a_message_is_set_aside_once(dovecot: servers.Dovecot, user: str, diary: Diary, watched: Watcher) -> None:
    def receive(_: Fetched) -> None:
        raise ValueError("what is this?")

    diary.receive = receive
    dovecot.append(user, "Archive", letter("poison"))
    assert settled(watched.read_now("rep"))
    assert settled(watched.read_now("rep"))
    assert len(diary.aside) == 1 and diary.positions["rep", "Archive"].uid == 1


def test_a_receiver_that_is_out_of_order_for_a_while_loses_nothing(
    dovecot: servers.Dovecot, user: str, diary: Diary
) -> None:
    """The store is gone: nothing can be set aside either, so the position stays and the mail comes again."""
    gone = threading.Event()

    def refuse(*_: object) -> None:
        if gone.is_set():
            raise RuntimeError("the store is gone")

    diary.receive = refuse
    diary.on_set_aside = refuse  # type: ignore[method-assign]
    with watching(diary, retry_seconds_max=0.1) as watcher:
        watcher.add("rep", account(dovecot, user))
        assert settled(watcher.read_now("rep"))
        gone.set()
        dovecot.deliver(user, letter("one"))
        dovecot.deliver(user, letter("two"))
        diary.until(lambda: diary.downs)
        assert "could not be handed on" in diary.downs[0][1]
        gone.clear()
        diary.until_mail("one", "two")
    assert diary.names() == ["one", "two"]


def test_a_refused_login_is_told_once_and_not_tried_again_for_minutes(
    dovecot: servers.Dovecot, user: str, diary: Diary
) -> None:
    with watching(diary) as watcher:
        watcher.add("rep", account(dovecot, user, secret=lambda: "wrong"))
        assert settled(watcher.read_now("rep")) is False
        assert [settled(watcher.read_now("rep")) for _ in range(5)] == [False] * 5
        with pytest.raises(Unreadable, match="refused the login"):
            settled(watcher.find("rep", "<x@demo.test>"))
        assert settled(watcher.append_sent("rep", letter("x"), datetime.now(UTC))) is False
    [(name, sentence, login)] = diary.downs
    assert name == "rep" and login and "check user and password" in sentence and "wrong" not in sentence


def test_one_failing_mailbox_does_not_stop_the_others(dovecot: servers.Dovecot, user: str, diary: Diary) -> None:
    with watching(diary) as watcher:
        watcher.add("broken", Account("127.0.0.1", 1, "tls", "x", lambda: "y"))
        watcher.add("locked", account(dovecot, user, secret=lambda: "wrong"))
        watcher.add("rep", account(dovecot, user))
        assert settled(watcher.read_now("rep"))
        dovecot.deliver(user, letter("fine"))
        diary.until_mail("fine")
        diary.until(lambda: {name for name, _, _ in diary.downs} == {"broken", "locked"})


def test_a_mailbox_that_is_not_watched_any_more_gives_no_answers(
    dovecot: servers.Dovecot, user: str, diary: Diary, watched: Watcher
) -> None:
    watched.remove("rep")
    assert settled(watched.read_now("rep")) is False
    with pytest.raises(Unreadable):
        settled(watched.find("rep", "<x@demo.test>"))
    watched.add("rep", account(dovecot, user))
    assert settled(watched.read_now("rep"))


def test_a_sent_message_is_found_by_its_id_or_by_our_own(
    dovecot: servers.Dovecot, user: str, diary: Diary, watched: Watcher
) -> None:
    headers = "To: Barry <barry@prospect.test>\r\nReferences: <first@x.test>\r\n <own-1@demo.test>\r\n"
    dovecot.append(user, "Sent", letter("rewritten-by-the-server", headers=headers))
    now = datetime.now(UTC)
    assert settled(watched.find("rep", "<rewritten-by-the-server@acme.test>")) == "Sent"
    assert settled(watched.find("rep", "<ours@demo.test>", "<own-1@demo.test>")) == "Sent"
    assert settled(watched.find("rep", "<ours@demo.test>", "<own-2@demo.test>", "barry@prospect.test", now)) is None
    assert settled(watched.find("rep", "<ours@demo.test>")) is None
    dovecot.append(user, "Sent", letter("tagged", headers="To: barry@prospect.test\r\nX-Trace: <own-2@demo.test>\r\n"))
    assert settled(watched.find("rep", "<ours@demo.test>", "<own-2@demo.test>", "barry@prospect.test", now)) == "Sent"
    later = now + timedelta(days=5)
    assert settled(watched.find("rep", "<ours@demo.test>", "<own-2@demo.test>", "barry@prospect.test", later)) is None


def test_a_message_that_was_sent_a_moment_ago_is_found(
    dovecot: servers.Dovecot, user: str, diary: Diary, watched: Watcher
) -> None:
    for turn in range(5):
        assert settled(watched.find("rep", f"<s{turn}@acme.test>")) is None
        dovecot.append(user, "Sent", letter(f"s{turn}"))
        assert settled(watched.find("rep", f"<s{turn}@acme.test>")) == "Sent"


def test_a_copy_is_filed_once_and_read(dovecot: servers.Dovecot, user: str, diary: Diary, watched: Watcher) -> None:
    at = datetime(2026, 3, 5, 10, 0, tzinfo=UTC)
    for _ in range(2):
        assert settled(watched.append_sent("rep", letter("copy").replace(b"\r\n", b"\n"), at)) is True
    assert dovecot.messages(user, "Sent") == [letter("copy")]
    assert b"\\Seen" in dovecot.flags(user, "Sent")[0]
    assert settled(watched.read_now("rep"))
    assert [message.received_at for message in diary.mail] == [at]


def test_what_is_asked_of_a_server_that_is_gone_is_no_answer(
    dovecot: servers.Dovecot, user: str, diary: Diary, watched: Watcher
) -> None:
    dovecot.stop()
    try:
        with pytest.raises(Unreadable):
            settled(watched.find("rep", "<x@demo.test>"))  # an absence would have to be proven
        assert settled(watched.append_sent("rep", letter("copy"), datetime.now(UTC))) is False
    finally:
        dovecot.start()


def test_a_hundred_mailboxes_are_watched_at_once(dovecot: servers.Dovecot, diary: Diary) -> None:
    users = [f"many{i}@demo.test" for i in range(100)]
    for address in users:
        dovecot.add_user(address)
    with watching(diary) as watcher:
        for address in users:
            watcher.add(address, account(dovecot, address))
        assert all(map(settled, [watcher.read_now(address) for address in users]))
        threads = [thread for thread in threading.enumerate() if thread.name.startswith("imap-")]
        for address in users:
            dovecot.deliver(address, letter(address.partition("@")[0]))
        diary.until_mail(*(address.partition("@")[0] for address in users))
        assert len(threads) < 60  # a thread for each would not do for a thousand
    assert len(diary.mail) == 100 and diary.downs == []
    assert all(message.mailbox.startswith(name_of(message.raw)) for message in diary.mail)


def test_more_descriptors_than_the_usual_limit_are_allowed() -> None:
    import resource

    with watching(Diary()):
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    assert soft >= min(hard, 65_536)


def test_the_embedded_server_is_read_like_any_other(diary: Diary) -> None:
    """pymap has no SPECIAL-USE and writes its lines in pieces."""
    with (
        MailWorld({"rep@demo.test": "secret"}, frozenset(), lambda: datetime.now(UTC)) as world,
        watching(diary) as watcher,
    ):
        watcher.add("rep", Account("127.0.0.1", world.imap_port, "none", "rep@demo.test", lambda: "secret"))
        assert settled(watcher.read_now("rep"))
        names = [f"m{i}" for i in range(30)]
        for name in names:
            world.deliver("rep@demo.test", letter(name))
        diary.until_mail(*names)
        world.deliver("rep@demo.test", letter("asked"))
        assert settled(watcher.read_now("rep"))
        assert diary.names("INBOX") == [*names, "asked"]
        sent = letter("sent", headers="References: <own@demo.test>\r\n")
        assert settled(watcher.append_sent("rep", sent, datetime.now(UTC)))
        assert settled(watcher.append_sent("rep", sent, datetime.now(UTC)))
        assert settled(watcher.find("rep", "<sent@acme.test>")) == "Sent"
        assert settled(watcher.find("rep", "<other@demo.test>", "<own@demo.test>")) == "Sent"
        assert settled(watcher.find("rep", "<other@demo.test>")) is None
        assert settled(watcher.read_now("rep"))
        assert diary.names("Sent") == ["sent"] and diary.downs == []
