"""Mail that is written to hurt: each message is opened by a real reader process under the kernel's limits, and costs less than two
seconds and 200 MB. What kills its reader all the same is set aside and shown, and what came behind it is read."""

from __future__ import annotations

import base64
import os
import re
import threading
import tomllib
from collections.abc import Callable, Iterator
from importlib.resources import files
from pathlib import Path

import office
import pytest
import servers
from office import DANA, SAM, Office
from world import world

from engine import inbox, reading
from engine.core.model import Event, Reader, Reading, Task
from engine.imap import Fetched
from engine.reading import Indigestible, Workers, open_here

there = office.one_office

MB = 1024 * 1024
SECONDS_MAX, BYTES_MAX = 2.0, 200 * MB
READER = Reader(frozenset({"sam@demo.test"}), frozenset({"demo.test"}))
TICK = 1 / os.sysconf("SC_CLK_TCK")


def mail(body: bytes, *headers: str) -> bytes:
    lines = ("From: Dana Whitfield <dana@acme.test>", "To: sam@demo.test", "Subject: Re: Hello", *headers)
    return "".join(f"{line}\r\n" for line in lines).encode() + b"\r\n" + body


def html(body: bytes) -> bytes:
    return mail(body, "Content-Type: text/html; charset=utf-8")


def nested(levels: int, inner: bytes) -> bytes:
    opened = [b"Content-Type: multipart/mixed; boundary=b%d\r\n\r\n--b%d\r\n" % (i, i) for i in range(levels)]
    return b"From: dana@acme.test\r\n" + b"".join(opened) + inner


def parts(count: int, part: bytes) -> bytes:
    return mail((b"--b\r\n" + part + b"\r\n") * count, "Content-Type: multipart/mixed; boundary=b")


def report(body: bytes) -> bytes:
    kind = "Content-Type: multipart/report; report-type=delivery-status; boundary=b"
    return mail(b"--b\r\nContent-Type: message/delivery-status\r\n\r\n" + body, kind)


BOMBS: dict[str, Callable[[], bytes]] = {
    "nested 100,000 deep": lambda: nested(100_000, b"hi"),
    "25 MB in as many multiparts as are opened": lambda: nested(19, b"\r\nx\r\n" + b"y" * 24 * MB),
    "the same with junk in every header": lambda: b"".join(
        b"Content-Type: multipart/mixed; boundary=b%d\r\nno header\r\n\r\n--b%d\r\n" % (i, i) for i in range(19)
    )
    + b"y" * 24 * MB,
    "100,000 parts": lambda: parts(100_000, b"Content-Type: text/plain\r\n\r\nhi"),
    "100,000 messages in messages": lambda: mail(b"Content-Type: message/rfc822\r\n\r\n" * 100_000),
    "a digest of itself": lambda: mail(
        b"--b\r\n\r\nContent-Type: multipart/digest; boundary=b\r\n\r\n" * 20_000,
        "Content-Type: multipart/digest; boundary=b",
    ),
    "boundaries that begin with each other": lambda: mail(
        b"".join(b"--%s\r\nContent-Type: multipart/mixed; boundary=%s\r\n\r\n" % (b"b" * i, b"b" * (i + 1)) for i in range(1, 2000)),
        "Content-Type: multipart/mixed; boundary=b",
    ),
    "a boundary that is nearly there": lambda: mail(
        (b"--" + b"b" * 1999 + b"\r\n") * 5_000, f"Content-Type: multipart/mixed; boundary={'b' * 2000}"
    ),
    "a boundary in the middle of 20 MB of dashes": lambda: mail(
        b"--" + b"-" * 20 * MB, f"Content-Type: multipart/mixed; boundary={'-' * 68}"
    ),
    "50 MB of base64": lambda: mail(base64.encodebytes(b"A" * 37 * MB), "Content-Transfer-Encoding: base64"),
    "base64 of equal signs": lambda: mail(b"=*" * 10 * MB, "Content-Transfer-Encoding: base64"),
    "quoted-printable that says nothing": lambda: mail(b"=\r\n" * 6 * MB, "Content-Transfer-Encoding: quoted-printable"),
    "quoted-printable of equal signs": lambda: mail(b"=" * 20 * MB, "Content-Transfer-Encoding: quoted-printable"),
    "2,000,000 headers": lambda: b"X: y\r\n" * 2_000_000 + b"\r\nhi",
    "one header of 20 MB": lambda: b"Subject: " + b"a" * 20 * MB + b"\r\n\r\nhi",
    "one header folded 3,000,000 times": lambda: b"Subject: " + b"a\r\n " * 3_000_000 + b"\r\n\r\nhi",
    "1,000,000 references": lambda: b"References: " + b"<a@b> " * 1_000_000 + b"\r\n\r\nhi",
    "a line of 10 MB": lambda: mail(b"word " * 2 * MB),
    "a line of 10 MB without a space": lambda: mail(b"w" * 10 * MB),
    "a line of 10 MB of HTML": lambda: html(b"<p>word " * MB),
    "encoded words": lambda: b"Subject: " + b"=?utf-8?b?" + b"QQ==" * 2000 + b"?= " * 3000 + b"\r\n\r\nhi",
    "encoded words that never end": lambda: b"Subject: " + b"=?utf-8?q?a" * 100_000 + b"\r\n\r\nhi",
    "encoded names": lambda: b"From: " + b"=?utf-8?q?=22?= <" * 5000 + b"dana@acme.test>\r\n\r\nhi",
    "comments in comments": lambda: b"From: " + b"(" * 60_000 + b"dana@acme.test\r\n\r\nhi",
    "groups of groups": lambda: b"To: " + b"g:" * 30_000 + b"sam@demo.test\r\n\r\nhi",
    "20,000 parameters": lambda: mail(b"hi", "Content-Type: text/plain; " + "; ".join(f"a*{i}*=x" for i in range(20_000))),
    "100,000 elements in each other": lambda: html(b"<div>" * 100_000 + b"hi"),
    "tables in tables": lambda: html(b"<table><tr><td>" * 30_000 + b"hi"),
    "quotes in quotes": lambda: html(b"<blockquote>" * 50_000 + b"hi"),
    "lists in lists": lambda: html(b"<ul><li>" * 50_000 + b"hi"),
    "a cell over a billion columns": lambda: html(b"<table><tr><td colspan=1000000000 rowspan=1000000000>x</td></tr></table>" * 100),
    "a hundred million lines of margin": lambda: html(b'<div style="margin-top:100000000em;padding-left:100000000em">x</div>' * 100),
    "attributes without end": lambda: html(b"<p " + b"a=b " * 300_000),
    "entities": lambda: html(b"&amp" * 500_000 + b"&#x110000;&#xd800;" * 1000),
    "NULs": lambda: mail(b"\0" * 10 * MB),
    "line ends": lambda: mail(b"\r\n" * 5 * MB),
    "carriage returns": lambda: mail(b"").replace(b"\r\n", b"\r") + b"\r" * 5 * MB,
    "spaces and tabs": lambda: mail(b"\t \n" * 2 * MB),
    "lone surrogates": lambda: mail(b"\xed\xa0\x80" * MB, "Content-Type: text/plain; charset=utf-8"),
    "UTF-7": lambda: mail(b"+ADw-script+AD4-+2AA-" * 100_000, "Content-Type: text/plain; charset=utf-7"),
    "quote signs": lambda: mail(b"> " * MB + b"\r\n" + b">" * MB),
    "attributions": lambda: mail(b"On Mon, Jan 1, 2026 at 10:00 AM a <a@b.c> wrote:\r\n" * 50_000),
    "signature lines": lambda: mail(b"-- \r\n" * 500_000),
    "addresses": lambda: mail(b"a.b.c@" * 300_000),
    "links": lambda: mail(b"<https://x.test/" * 100_000),
    "names": lambda: mail(b"John Smith, Acme Inc., " * 50_000),
    "dates": lambda: mail(b"from 1 January to " * 60_000, "Auto-Submitted: auto-replied"),
    "a report on 100,000 recipients": lambda: report(b"Final-Recipient: rfc822; a@b.c\r\nAction: failed\r\n\r\n" * 100_000),
    "a report of one field": lambda: report(b"Final-Recipient: " + b"rfc822;" * 500_000),
    "angle brackets in a bounce": lambda: b"From: MAILER-DAEMON@x.test\r\n\r\n" + b"<" * 200_000 + b"@" * 200_000,
}  # fmt: skip

CHARSETS = ("zip", "rot13", "hex", "bz2", "idna", "punycode", "undefined", "unicode_escape", "utf-7", "utf-16", "utf-32",
            "x" * 5000, "utf-8\0", "../../etc/passwd", "mbcs", "hz", "iso2022_kr", "us-ascii; charset=zip", "")  # fmt: skip

_SIGNS = re.compile(r"[()|*?]|…")


def phrases(language: str) -> list[str]:
    """All phrases of a language, their own signs taken for spaces."""
    tables = tomllib.loads(files("engine.core.phrases").joinpath(language).read_text(encoding="utf-8"))["phrases"]
    return [" ".join(_SIGNS.sub(" ", phrase).split()) for table in tables.values() for phrase in table if phrase]


LANGUAGES = sorted(f.name for f in files("engine.core.phrases").iterdir() if f.name.endswith(".toml"))


@pytest.fixture(scope="module")
def workers() -> Iterator[Workers]:
    there = Workers()
    yield there
    there.close()


def cost(pid: int) -> tuple[float, int]:
    """Processor seconds so far, and the most memory since the last look (bytes)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    status = Path(f"/proc/{pid}/status").read_text()
    Path(f"/proc/{pid}/clear_refs").write_text("5")  # the mark of the most memory begins anew
    return (int(fields[11]) + int(fields[12])) * TICK, int(status.split("VmHWM:")[1].split()[0]) * 1024


def opened(workers: Workers, raw: bytes) -> Reading:
    """What a reader process says, which has cost little."""
    with workers.open(b"From: a@b.example\r\n\r\nhi"):
        pass
    pid = workers._resting[-1]._process.pid
    before, _ = cost(pid)
    with workers.open(raw) as message:
        said = message.classify(READER)
    after, most = cost(pid)
    assert after - before < SECONDS_MAX
    assert most < BYTES_MAX
    assert said.event in (Event.REPLY, Event.NAMED, Event.BOUNCED, Event.SOFT_BOUNCED, Event.OUT_OF_OFFICE,
                          Event.AUTO_REPLY)  # fmt: skip
    return said


@pytest.mark.parametrize("name", BOMBS)
def test_a_bomb_costs_less_than_two_seconds_and_200_mb(workers: Workers, name: str) -> None:
    opened(workers, BOMBS[name]())


@pytest.mark.parametrize("charset", CHARSETS)
def test_whatever_a_charset_is_called_there_is_a_text_that_a_database_takes(workers: Workers, charset: str) -> None:
    body = b"I will ask around. +2AA- \x00\xd8\xff"
    raw = mail(body, f"Content-Type: text/plain; charset={charset}", f"X-A: =?{charset}?q?=D8=00?=")
    with workers.open(raw.replace(b"Re: Hello", f"=?{charset[:40]}?b?2AA=?= x".encode())) as message:
        message.classify(READER)
    for text in (message.message.text, message.message.subject):
        assert "\0" not in text
        text.encode()  # a lone surrogate could not be


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("headers", [(), ("Auto-Submitted: auto-replied",)], ids=["by hand", "automatic"])
def test_no_words_of_any_language_lead_the_detectors_astray(
    workers: Workers, language: str, headers: tuple[str, ...]
) -> None:
    """All its phrases without an end, all but their last words, and the beginnings of each, again and again."""
    all_of_it = phrases(language)
    beginnings = [phrase.rpartition(" ")[0] or phrase[:-1] for phrase in all_of_it]
    kind = "Content-Type: text/plain; charset=utf-8"
    for words in (" ".join(all_of_it), " ".join(beginnings), " ".join(b for b in beginnings[:300] for _ in range(30))):
        with workers.open(mail(words.encode() * 5, kind, *headers)) as message:
            message.classify(READER)
        subject = f"=?utf-8?b?{base64.b64encode(words[:4000].encode()).decode()}?="
        with workers.open(mail(words.encode(), kind, *headers).replace(b"Re: Hello", subject.encode())) as message:
            message.classify(READER)


def test_an_id_holds_no_control_character(workers: Workers) -> None:
    with workers.open(b"Message-ID: <a\0b@c>\r\nReferences: <x\x01@y> <fine@y>\r\n\r\nhi") as message:
        assert (message.message.message_id, message.message.references) == ("", ("<fine@y>",))


def test_a_message_means_the_same_here_and_there(workers: Workers, own: list[bytes]) -> None:
    for raw in own:
        with workers.open(raw) as there, open_here(raw) as here:
            assert there.classify(READER) == here.classify(READER)
            assert there.message.text == here.message.text


@pytest.fixture(scope="module")
def own() -> list[bytes]:
    return [file.read_bytes() for file in sorted((Path(__file__).parent / "mail").glob("*.eml"))]


# --- what kills its reader all the same ------------------------------------------------------------------------------

#: Planted in the reader's process from outside: messages with these words in them break it.
PLANTED = """
import os, signal
from engine.core import message
whole = message.parse
def parse(raw):
    if b"segfault-me" in raw: os.kill(os.getpid(), signal.SIGSEGV)
    if b"freeze-me" in raw: os.kill(os.getpid(), signal.SIGSTOP)
    if b"spin-me" in raw:
        while True: pass
    if b"eat-me" in raw: bytearray(1 << 30)
    if b"raise-me" in raw: raise RecursionError(raw.decode())
    if b"write-me" in raw: os.write(os.open(os.path.dirname(__file__) + "/loot", os.O_CREAT | os.O_WRONLY), b"x")
    if b"tell-me" in raw: return whole(b"Subject: " + repr(sorted(os.environ)).encode() + b"\\n\\n")
    return whole(raw)
message.parse = parse
"""


@pytest.fixture
def planted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "planted"
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(PLANTED)
    monkeypatch.syspath_prepend(str(folder))
    return folder


@pytest.fixture
def fragile(planted: Path) -> Iterator[Workers]:
    there = Workers()
    yield there
    there.close()


@pytest.mark.parametrize(("word", "sentence"), [
    ("segfault-me", "the process that read it ended (SIGSEGV)"),
    ("freeze-me", "it was not read within 5 seconds"),
    ("spin-me", "to read it takes more than 2 seconds of processor time"),
    ("eat-me", "to read it takes more than 400 MB of memory"),
    ("raise-me", "it breaks the program that reads it (RecursionError)"),
    ("write-me", "it breaks the program that reads it (OSError)"),
])  # fmt: skip
def test_what_kills_its_reader_kills_nothing_else(
    fragile: Workers, planted: Path, monkeypatch: pytest.MonkeyPatch, word: str, sentence: str
) -> None:
    with monkeypatch.context() as patch, pytest.raises(Indigestible) as said:
        if word == "freeze-me":
            patch.setattr(reading, "REAL_SECONDS_MAX", 5.0)
        with fragile.open(mail(word.encode())) as message:
            message.classify(READER)
    assert str(said.value) == sentence
    assert not (planted / "loot").exists() or (planted / "loot").stat().st_size == 0
    with fragile.open(mail(b"I will ask around.")) as message:
        assert message.classify(READER).event is Event.REPLY


def test_a_reader_knows_no_password(fragile: Workers, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REP_PASSWORD", "sam-secret")
    with fragile.open(mail(b"tell-me")) as message:
        assert "PATH" in message.message.subject
        assert "REP_PASSWORD" not in message.message.subject


def test_a_reader_is_replaced_before_it_grows_old(workers: Workers, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "MESSAGES_PER_WORKER", 3)
    seen = set()
    for _ in range(12):
        with workers.open(mail(b"hi")):
            pass
        seen.add(workers._resting[-1]._process.pid)
    assert len(seen) >= 4
    assert len(workers._resting) <= reading.WORKERS_MAX


def test_no_crowd_of_messages_starts_a_crowd_of_readers(workers: Workers) -> None:
    most: list[int] = []

    def read() -> None:
        with workers.open(mail(b"hi")) as message:
            message.classify(READER)
            most.append(reading.WORKERS_MAX - workers._turns._value)

    crowd = [threading.Thread(target=read) for _ in range(30)]
    for one in crowd:
        one.start()
    for one in crowd:
        one.join()
    assert len(most) == 30
    assert max(most) <= reading.WORKERS_MAX
    assert len(workers._resting) <= reading.WORKERS_MAX


def test_no_reader_outlives_whoever_asked() -> None:
    there = Workers()
    there.warm()
    process = there._resting[0]._process
    there._resting[0]._connection.close()  # as when the daemon is killed
    assert process.wait(20) == 0
    there.close()


def test_a_reader_works_while_no_transaction_is_open(there: Office) -> None:
    """What takes long to read holds up no other writer of the store."""
    in_transaction: list[bool] = []

    class Asked:
        def __init__(self, raw: bytes) -> None:
            self._whole = open_here(raw)

        def __enter__(self) -> Asked:
            in_transaction.append(there.store.database.in_transaction)
            self._opened = self._whole.__enter__()
            self.message = self._opened.message
            return self

        def classify(self, reader: Reader) -> Reading:
            in_transaction.append(there.store.database.in_transaction)
            return self._opened.classify(reader)

        def __exit__(self, *error: object) -> None:
            self._whole.__exit__(None, None, None)

    there.enroll()
    (first,) = there.work()
    raw = there.mail("I need to think about that.", DANA, first)
    there.later(hours=1)
    got = inbox.receive(there.inst, Fetched(SAM, "INBOX", "inbox", 1, 900, raw, len(raw), there.now), there.now, Asked)
    assert got.row and got.row.event == "reply"
    assert in_transaction == [False, False]


@pytest.mark.real
async def test_a_message_that_kills_its_reader_three_times_is_set_aside_and_the_next_is_read(
    tmp_path: Path, dovecot: servers.Dovecot, postfix: servers.Postfix, planted: Path
) -> None:
    async with world(tmp_path, dovecot, postfix) as there:
        store = there.inst.store
        nudge = there.enroll(there.dana, "value_review", review_call="2031-01-06 10:00", problems=["a"], results=["b"])
        for word in ("segfault-me", "raise-me"):
            there.write("stranger@elsewhere.test", there.rep, "For you", word)
        there.write(there.dana, there.rep, "A word", "I have a question about the call.")
        await there.until(lambda: [m for m in store.inbound_of(nudge.contact) if m.event == "reply"], "the answer")

        def put_aside() -> list[Task]:
            return [task for task in store.open_tasks() if task.kind == "set_aside"]

        await there.until(lambda: len(put_aside()) == 2, "both that cannot be read")
        aside = sorted(put_aside(), key=lambda task: "SIGSEGV" not in task.text)
        assert all(task.rep == there.rep and "could not be read" in task.title for task in aside)
        assert "SIGSEGV" in aside[0].text
        assert "RecursionError" in aside[1].text
        assert "raise-me" not in aside[1].text
