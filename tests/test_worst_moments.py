"""Reading a server that speaks at the worst moment, gives nothing, or falls silent for ever."""

from __future__ import annotations

import contextlib
import itertools
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime

import pytest
import servers
from mailboxes import PATIENCE_SECONDS, Diary, account, fresh, letter, settled, watching
from scripted import Line, Stub, once, scripted, stub

from engine.account import Account
from engine.imap import Position, Unreadable
from engine.watcher import LOOKS_IN_VAIN_MAX


@pytest.fixture
def diary() -> Diary:
    return Diary()


def announced_with_idling(server: Stub, line: Line, tag: str) -> bool:
    server.mail[1] = letter("hidden")
    line.say(b"+ idling\r\n* 1 EXISTS\r\n")
    line.hear()
    line.say(f"{tag} OK done")
    return True


def announced_before_idling(server: Stub, line: Line, tag: str) -> bool:
    server.mail[1] = letter("hidden")
    line.say(b"* OK still here\r\n* 1 EXISTS\r\n+ idling\r\n")
    line.hear()
    line.say(f"{tag} OK done")
    return True


def announced_with_the_search(server: Stub, line: Line, tag: str) -> bool:
    """The answer is from before, the news comes along with it, and IDLE will not say it again: so does Dovecot."""
    server.mail[1] = letter("hidden")
    line.say(f"* SEARCH\r\n* 1 EXISTS\r\n{tag} OK done")
    return True


@pytest.mark.parametrize(
    ("verb", "moment"),
    [
        ("IDLE", announced_with_idling),
        ("IDLE", announced_before_idling),
        ("SEARCH", announced_with_the_search),
    ],
)
def test_mail_that_is_announced_at_the_worst_moment_is_read(
    diary: Diary, verb: str, moment: Callable[[Stub, Line, str], bool]
) -> None:
    with stub() as server, watching(diary) as watcher:
        diary.positions["rep", "INBOX"] = Position(7, 0)
        server.hooks[verb] = once(lambda line, tag: moment(server, line, tag))
        watcher.add("rep", server.account())
        diary.until_mail("hidden")
    assert diary.names() == ["hidden"] and diary.downs == []


def test_mail_announced_with_the_last_search_before_idling_is_read(diary: Diary) -> None:
    """Every SEARCH of the first visit answers from before; the news comes with the last of them."""
    with stub() as server, watching(diary) as watcher:
        diary.positions["rep", "INBOX"] = Position(7, 0)
        searches = itertools.count(1)

        def late(line: Line, tag: str) -> bool:
            if next(searches) < 3:  # the inbox is read first, last, and once more before IDLE
                line.say(f"* SEARCH\r\n{tag} OK done")
                return True
            server.hooks.clear()
            return announced_with_the_search(server, line, tag)

        server.hooks["SEARCH"] = late
        watcher.add("rep", server.account())
        diary.until_mail("hidden")


def test_mail_that_keeps_coming_at_the_worst_moment_is_all_read(diary: Diary) -> None:
    def one_more(line: Line, tag: str) -> bool:
        more = len(server.mail) < len(names)
        if more:
            server.mail[len(server.mail) + 1] = letter(names[len(server.mail)])
        line.say(f"+ idling\r\n* {len(server.mail)} EXISTS\r\n".encode() if more else b"+ idling\r\n")
        line.hear()
        line.say(f"{tag} OK done")
        return True

    names = [f"m{i}" for i in range(30)]
    with stub(hooks={"IDLE": one_more}) as server, watching(diary) as watcher:
        diary.positions["rep", "INBOX"] = Position(7, 0)
        watcher.add("rep", server.account())
        diary.until_mail(*names)
    assert diary.names() == names


def test_a_server_that_speaks_each_time_that_idle_begins_is_polled_and_not_pestered(diary: Diary) -> None:
    def repeat(line: Line, tag: str) -> bool:
        line.say(f"+ idling\r\n* {len(server.mail)} EXISTS\r\n".encode())
        line.hear()
        line.say(f"{tag} OK done")
        return True

    with stub(hooks={"IDLE": repeat}) as server, watching(diary, poll_seconds=0.1) as watcher:
        watcher.add("rep", server.account())
        diary.until(lambda: diary.reads)
        server.mail[1] = letter("polled")
        diary.until_mail("polled")
    assert diary.downs == []
    visits = server.heard.count("NOOP") + 1 + len(server.mail)  # a look that finds something is not in vain
    assert server.heard.count("IDLE") <= LOOKS_IN_VAIN_MAX * visits  # without a limit, thousands


def test_a_line_that_comes_in_pieces_is_read_whole(diary: Diary) -> None:
    def pieces(line: Line, tag: str) -> bool:
        line.say("+ idling")
        for piece in (b"* 1 EX", b"IS", b"TS\r", b"\n"):
            line.say(piece)
            time.sleep(0.02)
        line.hear()
        line.say(f"{tag} OK done")
        return True

    with stub() as server, watching(diary) as watcher:
        watcher.add("rep", server.account())
        assert settled(watcher.read_now("rep"))
        server.hooks["IDLE"] = once(pieces)
        server.mail[1] = letter("pieces")
        assert settled(watcher.read_now("rep"))
        server.mail[2] = letter("more")
        assert settled(watcher.read_now("rep"))
    assert diary.names() == ["pieces", "more"] and diary.downs == []


def test_a_connection_that_died_unnoticed_is_replaced_for_whoever_asks(diary: Diary) -> None:
    """As after a laptop's sleep: nobody told us, and the gate still gets its answer at the first try."""

    idling = threading.Event()

    def die_in_idle(line: Line, tag: str) -> bool:
        line.say("+ idling")
        idling.set()
        line.hear()
        raise ConnectionResetError

    with stub(hooks={"IDLE": once(die_in_idle)}) as server, watching(diary) as watcher:
        watcher.add("rep", server.account())
        assert settled(watcher.read_now("rep"))
        assert idling.wait(PATIENCE_SECONDS)
        server.mail[1] = letter("asleep")
        assert settled(watcher.read_now("rep"))
    assert diary.names() == ["asleep"] and diary.downs == [] and server.connections == 2


def test_a_server_without_idle_is_asked_again_and_again(diary: Diary) -> None:
    with stub(capabilities="IMAP4rev1") as server, watching(diary, poll_seconds=0.02) as watcher:
        watcher.add("rep", server.account())
        assert settled(watcher.read_now("rep"))
        server.mail[1] = letter("polled")
        diary.until_mail("polled")
        reads = len(diary.reads)
        server.mail[2] = letter("polled-again")
        diary.until_mail("polled-again")
        assert len(diary.reads) == reads  # the inbox alone
    assert "IDLE" not in server.heard and "NOOP" in server.heard


def test_every_folder_is_read_again_and_again_whatever_idle_says(diary: Diary) -> None:
    with stub(folders=("INBOX", "Junk")) as server, watching(diary, full_read_seconds=0.05) as watcher:
        watcher.add("rep", server.account())
        diary.until(lambda: len(diary.reads) >= 4)
    opened = [command.split()[1] for command in server.heard if command.startswith("EXAMINE")]
    assert opened[:6] == ['"INBOX"', '"Junk"', '"INBOX"', '"INBOX"', '"Junk"', '"INBOX"']
    assert diary.downs == []


def test_idle_is_renewed(diary: Diary) -> None:
    with stub() as server, watching(diary, idle_seconds=0.05) as watcher:
        watcher.add("rep", server.account())
        diary.until(lambda: diary.reads)
        deadline = time.monotonic() + PATIENCE_SECONDS
        while server.heard.count("IDLE") < 4 and time.monotonic() < deadline:
            time.sleep(0.01)
    assert server.heard.count("IDLE") >= 4 and len(diary.reads) == 1 and diary.downs == []


def test_a_message_that_the_server_does_not_give_is_set_aside_and_the_next_is_read(diary: Diary) -> None:
    def withhold(line: Line, tag: str) -> bool:
        command = server.heard[-1]
        if "BODY" not in command or "1" not in command.split()[2].split(","):
            return False
        line.say(f"{tag} NO [SERVERBUG] it is damaged")
        return True

    with stub(mail={1: letter("damaged"), 2: letter("fine")}) as server, watching(diary) as watcher:
        diary.positions["rep", "INBOX"] = Position(7, 0)
        server.hooks["FETCH"] = withhold
        watcher.add("rep", server.account())
        diary.until_mail("fine")
    assert diary.names() == ["fine"]
    [(message, sentence)] = diary.aside
    assert (message.uid, message.raw) == (1, b"") and "it is damaged" in sentence
    assert len(diary.downs) == 2  # it was given three chances


def test_a_mailbox_of_100_000_messages_costs_no_more_than_what_is_new(diary: Diary) -> None:
    with stub(mail=dict.fromkeys(range(1, 100_001), letter("old"))) as server, watching(diary) as watcher:
        watcher.add("rep", server.account())
        assert settled(watcher.read_now("rep"))
        assert diary.mail == [] and diary.positions["rep", "INBOX"] == Position(7, 100_000)
        server.mail[100_001] = letter("new")
        assert settled(watcher.read_now("rep"))
    assert diary.names() == ["new"]
    assert [c for c in server.heard if "FETCH" in c and "100001" not in c] == []


def test_a_folder_of_which_the_server_says_that_it_holds_nothing_new_is_not_opened(diary: Diary) -> None:
    with stub(mail={1: letter("old")}, folders=("INBOX", "Junk")) as server, watching(diary) as watcher:
        watcher.add("rep", server.account())
        assert settled(watcher.read_now("rep"))
        server.heard.clear()
        assert settled(watcher.read_now("rep"))
        assert [c for c in server.heard if "Junk" in c or "EXAMINE" in c] == ['STATUS "Junk" (UIDVALIDITY UIDNEXT)']
        server.mail[2] = letter("new")
        assert settled(watcher.read_now("rep"))
        assert 'EXAMINE "Junk"' in server.heard and {m.folder for m in diary.mail} == {"INBOX", "Junk"}


def test_a_message_that_is_gone_when_it_is_fetched_is_passed_over(diary: Diary) -> None:
    def forget(line: Line, tag: str) -> bool:
        if "BODY" in server.heard[-1]:
            line.say(f"* 1 FETCH (UID 1 FLAGS (\\Deleted))\r\n{tag} OK done")
        else:
            line.say(f"* 1 FETCH (UID 1 FLAGS ())\r\n{tag} OK done")  # nor does it say how large it was
        return "1" in server.heard[-1].split()[2].split(",")

    with stub(mail={1: letter("gone")}) as server, watching(diary) as watcher:
        diary.positions["rep", "INBOX"] = Position(7, 0)
        server.hooks["FETCH"] = forget
        watcher.add("rep", server.account())
        diary.until(lambda: diary.reads)
        del server.hooks["FETCH"]
        server.mail[2] = letter("next")
        assert settled(watcher.read_now("rep"))
    assert diary.names() == ["next"] and diary.positions["rep", "INBOX"] == Position(7, 2)


def test_without_a_sent_folder_nothing_is_proven_and_a_copy_makes_one(diary: Diary) -> None:
    def create(line: Line, tag: str) -> bool:
        server.folders += ("Sent",)
        return False

    def append(line: Line, tag: str) -> bool:
        size = int(server.heard[-1].rpartition("{")[2].rstrip("}"))
        line.say("+ go on")
        copies.append(line.read(size))
        line.hear()
        return False

    copies: list[bytes] = []
    with stub(hooks={"CREATE": create, "APPEND": append, "SEARCH": find_nothing}) as server, watching(diary) as watcher:
        watcher.add("rep", server.account())
        with pytest.raises(Unreadable, match="no Sent folder"):
            settled(watcher.find("rep", "<x@demo.test>"))
        assert settled(watcher.append_sent("rep", letter("copy"), datetime.now(UTC))) is True
        assert settled(watcher.find("rep", "<x@demo.test>")) is None
    assert copies == [letter("copy")] and "CREATE Sent" in " ".join(server.heard).replace('"', "")
    assert server.connections == 1


def find_nothing(line: Line, tag: str) -> bool:
    line.say(f"* SEARCH\r\n{tag} OK done")
    return True


def test_half_open_peers_hold_up_nobody_else(dovecot: servers.Dovecot, diary: Diary) -> None:
    """Six servers with six mailboxes each went away without a word, and their IDLE is due: more than there are workers. The
    healthy mailbox, due as well, is heard and asked meanwhile: in one queue for all it would wait for their time-outs,
    which are longer than this test's patience."""
    user = fresh(dovecot)
    silent = threading.Event()
    stuck = threading.Semaphore(0)

    def fall_silent(line: Line, tag: str) -> bool:
        if silent.is_set():
            stuck.release()
            threading.Event().wait(PATIENCE_SECONDS * 3)
        return False

    def idle_and_fall_silent(line: Line, tag: str) -> bool:
        line.say("+ idling")
        line.hear()
        fall_silent(line, tag)
        line.say(f"{tag} OK done")
        return True

    with contextlib.ExitStack() as stack:
        watcher = stack.enter_context(watching(diary, idle_seconds=0.3, answer_seconds=PATIENCE_SECONDS * 3))
        for host in range(2, 8):
            server = stack.enter_context(stub(host=f"127.0.0.{host}", hooks={"IDLE": idle_and_fall_silent}))
            for i in range(6):
                watcher.add(f"dead-{host}-{i}", server.account())
        watcher.add("rep", account(dovecot, user))
        diary.until(lambda: len({name for name, _ in diary.reads}) == 37)
        silent.set()
        for _ in range(16):
            assert stuck.acquire(timeout=PATIENCE_SECONDS)  # every worker for what is due waits for a dead peer
        for turn in range(5):
            dovecot.deliver(user, letter(f"heard-{turn}"))
            diary.until_mail(f"heard-{turn}")
            dovecot.append(user, "Junk", letter(f"asked-{turn}"))
            assert settled(watcher.read_now("rep"))
            assert f"asked-{turn}" in diary.names()
        assert diary.downs == []


def test_a_server_that_never_greets_keeps_nobody_from_connecting_elsewhere(
    dovecot: servers.Dovecot, diary: Diary
) -> None:
    """It has forty mailboxes, more than there are workers to connect."""
    calls, over = threading.Semaphore(0), threading.Event()

    def never_greet(line: Line) -> None:
        calls.release()
        over.wait(PATIENCE_SECONDS * 3)

    with scripted(never_greet) as port, watching(diary, connect_seconds=PATIENCE_SECONDS * 2) as watcher:
        for i in range(40):
            watcher.add(f"dead-{i}", Account("127.0.0.1", port, "none", "x", lambda: "y"))
        for _ in range(4):
            assert calls.acquire(timeout=PATIENCE_SECONDS)
        watcher.add("rep", account(dovecot, fresh(dovecot)))
        assert settled(watcher.read_now("rep"))
        assert diary.downs == []
        over.set()


def test_stopping_does_not_wait_for_the_dead(diary: Diary) -> None:
    silent = threading.Event()

    def fall_silent(line: Line, tag: str) -> bool:
        silent.set()
        threading.Event().wait(PATIENCE_SECONDS * 3)
        return True

    with stub() as server, watching(diary, answer_seconds=PATIENCE_SECONDS * 3) as watcher:
        watcher.add("rep", server.account())
        assert settled(watcher.read_now("rep"))
        server.hooks["SEARCH"] = fall_silent
        asked = watcher.read_now("rep")
        assert silent.wait(PATIENCE_SECONDS)
        stopping = threading.Thread(target=watcher.stop)
        stopping.start()
        stopping.join(PATIENCE_SECONDS)
        assert not stopping.is_alive()  # long before the time-out
        assert asked.result(0) is False
