"""What a user can get wrong: each case says what is wrong, where, and what to do about it, ends with the right exit code, and never
with a traceback."""

from __future__ import annotations

import contextlib
import json
import os
import re
import resource
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from engine.__main__ import main

ROOT = Path(__file__).parents[1]
DANA = "dana@acme.example"
BARRY = "prospect=Barry Jones <barry@northwind.example>"
FOLLOW_UP = ("enroll", DANA, "follow_up_1_1_1", "--name", "Dana Whitfield")
REVIEW = (
    "enroll", DANA, "value_review", "--name", "Dana Whitfield",
    "-v", "review_call=2027-03-11 10:00", "-v", "problems=late tenders", "-v", "results=tenders in time",
    "-v", "problem=tenders that take weeks",
)  # fmt: skip


@pytest.fixture
def project(pristine: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project of its own, straight after `init`, and the place where we stand."""
    folder = tmp_path / "project"
    shutil.copytree(pristine, folder)
    monkeypatch.chdir(folder)
    return folder


# --- how a project is spoilt -----------------------------------------------------------------------------------------

Spoil = Callable[[Path], object]


def write(name: str, text: str | bytes) -> Spoil:
    raw = text if isinstance(text, bytes) else text.encode()
    return lambda folder: (folder / name).write_bytes(raw)


def change(name: str, old: str, new: str) -> Spoil:
    def spoil(folder: Path) -> None:
        text = (folder / name).read_text()
        assert old in text, f"{name} has no {old!r}"
        (folder / name).write_text(text.replace(old, new, 1))

    return spoil


def config(old: str, new: str) -> Spoil:
    return change("config.yaml", old, new)


def remove(name: str) -> Spoil:
    return lambda folder: (folder / name).unlink()


def world_readable(folder: Path) -> None:
    config("{ env: WHOELSE_PASSWORD }", "{ file: password }")(folder)
    (folder / "password").write_text("secret")
    (folder / "password").chmod(0o644)


def nowhere(folder: Path) -> None:
    """Both servers on a port where nobody listens."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    at_port(folder, port)


def at_port(folder: Path, port: int) -> None:
    here = f"host: 127.0.0.1, port: {port}, security: none"
    config("host: smtp.consulting.example, port: 587, security: starttls", here)(folder)
    config("host: imap.consulting.example, port: 993, security: tls", here)(folder)
    config("{ env: WHOELSE_PASSWORD }", "{ file: password }")(folder)
    (folder / "password").write_text("not-the-password\n")
    (folder / "password").chmod(0o600)


def unknown_host(folder: Path) -> None:
    at_port(folder, 25)
    text = (folder / "config.yaml").read_text()
    (folder / "config.yaml").write_text(
        text.replace("host: 127.0.0.1, port: 25, security: none", "host: mail.invalid, port: 25, security: tls")
    )


def suppressed(folder: Path) -> None:
    assert main(["suppress", DANA]) == 0


def running(folder: Path) -> None:
    assert main([*FOLLOW_UP, "-v", BARRY]) == 0


# --- the cases -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Case:
    """`says` is what is wrong, `place` where, `remedy` what to do: regular expressions over all that was printed."""

    name: str
    words: tuple[str, ...]
    says: str
    remedy: str
    place: str = ""
    code: int = 1
    spoil: Spoil = field(default=lambda folder: None)


STATUS, CHECK, CONNECT = ("status",), ("check",), ("check", "--connect")
ASK = "sequences/ask.yaml"

CASES = [
    # the command line
    Case("an unknown command", ("enrol",), "No such command 'enrol'", "--help", code=2),
    Case("an unknown option", ("status", "--al"), "No such option", "--help|--all", code=2),
    Case("a missing argument", ("enroll", DANA), "Missing argument 'SEQUENCE'", "--help", code=2),
    Case("a variable without =", (*FOLLOW_UP, "-v", "prospect"), "'prospect' is no variable", "name=value", "-v", 2),
    Case("an event that cannot happen", ("simulate", "ask", "--when", "sings@+3d"), "'sings' is no event", "there are .*reply", "--when", 2),
    Case("an event after nonsense", ("simulate", "ask", "--when", "reply@+3 fortnights"), "fortnights", "minutes, hours, days", "--when", 2),
    Case("an event without its time", ("simulate", "ask", "--when", "reply"), "says no time", r"reply@\+3d", "--when", 2),
    Case("a decision without its step", ("simulate", "ask", "--when", "approved@+1d"), "say which step", "approved:first", "--when", 2),
    Case("a return that is no date", ("simulate", "ask", "--when", "out_of_office:soon@+1d"), "'soon' is no date", "2026-03-20", "--when", 2),
    Case("what is not UTF-8", (*FOLLOW_UP, "-v", "prospect=Barry \udcff <barry@x.example>"), "not UTF-8", "type it again", code=2),
    Case("a beginning that is no time", ("simulate", "ask", "--begin", "soon"), "'soon' is no time", "2026-03-02T09:30", "--begin", 2),
    Case("pause without anybody", ("pause",), "name somebody", "--all", "EMAIL", 2),
    Case("pause everybody and somebody", ("pause", DANA, "--all"), "either somebody", "--all", "EMAIL", 2),
    Case("a log format that is none", ("run", "--log-format", "xml"), "'xml' is neither", "text nor json", "--log-format", 2),
    Case("a schema that is none", ("schema", "template"), "'template' is none", "sequence, triggers, config", code=2),
    # the config
    Case("no config", STATUS, "no config can be read", "whoelse init", "config.yaml", 2, remove("config.yaml")),
    Case("a config that is no YAML", STATUS, "problem", "", r"config\.yaml:1:\d+: ", 2, write("config.yaml", "mailboxes: [\n")),
    Case("a config in Latin-1", STATUS, "UTF-8", "save the file as UTF-8", r"config\.yaml:\d+:\d+", 2, write("config.yaml", b"company: {name: M\xfcller}\n")),
    Case("an unknown key", STATUS, "holidais", "did you mean", r"config\.yaml:\d+:1: ", 2, config("holidays: true", "holidais: true")),
    Case("an unknown zone", STATUS, "Europe/Berlinn", "Europe/Berlin", r"config\.yaml:\d+:\d+: ", 2, config("zone: Europe/Berlin #", "zone: Europe/Berlinn #")),
    Case("a yes that is no boolean", STATUS, "yes", "true", r"config\.yaml:\d+:\d+: ", 2, config("holidays: true", "holidays: yes")),
    Case("a password in the config", STATUS, "no name of a place", "env: NAME", r"config\.yaml:\d+:\d+: ", 2, config("{ env: WHOELSE_PASSWORD }", "hunter2")),
    Case("two mailboxes of one address", STATUS, "sam@consulting.example", "each address once", r"config\.yaml:\d+:\d+: ", 2,
         config("windows:\n", "  - {address: sam@consulting.example, name: Sam Two}\nwindows:\n")),
    Case("a database of an unknown kind", STATUS, "unknown kind", "postgresql://", r"config\.yaml:\d+:\d+: ", 2, config("store: whoelse.db", "store: mysql://here/db")),
    Case("the same words for check, which says no", CHECK, "holidais", "did you mean", r"config\.yaml:\d+:1: ", 1, config("holidays: true", "holidais: true")),
    # sequences
    Case("a duration that is none", CHECK, "fortnight", "minutes, hours, days", r"sequences/ask\.yaml:\d+:\d+: ", 1, change(ASK, "start + 1 week", "start + 1 fortnight")),
    Case("an unknown key in a step", CHECK, "emial", "did you mean", r"sequences/ask\.yaml:\d+:\d+: ", 1, change(ASK, "email: ask/who_else", "emial: ask/who_else")),
    Case("a key that is there twice", CHECK, "kind.*twice|twice.*kind", "", r"sequences/ask\.yaml:\d+:1: ", 1, change(ASK, "kind: ask", "kind: ask\nkind: ask")),
    Case("tabs", CHECK, "tab", "space", r"sequences/ask\.yaml:\d+:\d+: ", 1, change(ASK, "kind: ask", "kind:\n\task")),
    Case("500 nested brackets", CHECK, "nest|deep", "", r"sequences/deep\.yaml:1:\d+: ", 1, write("sequences/deep.yaml", "[" * 500)),
    Case("a sequence that starts an unknown one", CHECK, "thank_yu", "did you mean", r"sequences/follow_up_1_1_1\.yaml:\d+:\d+: ", 1,
         change("sequences/follow_up_1_1_1.yaml", "start: thank_you", "start: thank_yu")),
    Case("faulty sequences on the first start", (*FOLLOW_UP, "-v", BARRY), "errors? in sequences", "minutes, hours", r"ask\.yaml:\d+:\d+: ", 1,
         change(ASK, "start + 1 week", "start + 1 fortnight")),
    Case("no sequences", CHECK, "no sequence", "init", "sequences", 1, lambda folder: shutil.rmtree(folder / "sequences")),
    # templates
    Case("a missing template", CHECK, "ask/who_els", "did you mean|who_else", r"sequences/ask\.yaml:\d+:\d+: ", 1, change(ASK, "email: ask/who_else", "email: ask/who_els")),
    Case("an undefined variable", CHECK, "first_nam", "first_name", r"templates/ask/who_else\.md:\d+:\d+: ", 1,
         change("templates/ask/who_else.md", "client.first_name", "client.first_nam")),
    Case("a template that is not closed", CHECK, "if|endif|closed", "", r"templates/ask/who_else\.md:\d+:\d+: ", 1,
         change("templates/ask/who_else.md", "{{ client.first_name }}", "{% if client %}{{ client.first_name }}")),
    Case("a link that runs a program", CHECK, "javascript", "https", r"templates/ask/who_else\.md:\d+:\d+: ", 1,
         lambda folder: (folder / "templates/ask/who_else.md").open("a").write("\n[here](javascript:alert)\n")),
    # people and variables
    Case("an address that is none", ("enroll", "dana.acme.example", "value_review"), "no valid address", "dana@acme.example"),
    Case("an address with a line break", ("enroll", "dana@acme.example\r\nBcc: all@acme.example", "value_review"), "no valid address", "write it like"),
    Case("an unknown sequence", ("enroll", DANA, "value_revue"), "no sequence 'value_revue'", "value_review"),
    Case("a missing variable", FOLLOW_UP, "needs prospect", "add -v prospect="),
    Case("an unknown variable", (*FOLLOW_UP, "-v", BARRY, "-v", "prospekt=x"), "no variable prospekt", "did you mean prospect"),
    Case("a time that is none", (*REVIEW[:-8], "-v", "review_call=next Tuesday", *REVIEW[-6:]), "review_call must be a date and time", "2026-03-02 14:30"),
    Case("a time without its hour", (*REVIEW[:-8], "-v", "review_call=2027-03-11", *REVIEW[-6:]), "lacks the time of day", "2027-03-11 14:30"),
    Case("a prospect with a wrong address", (*FOLLOW_UP, "-v", "prospect=Barry <barry@@x>"), "invalid address", "for example -v prospect="),
    Case("a control character in a value", (*FOLLOW_UP, "-v", BARRY, "-v", "problem=late\x1b[31m"), "control character", "take it out"),
    Case("an unknown zone of a person", (*FOLLOW_UP, "-v", BARRY, "--zone", "Mars/Olympus"), "Mars/Olympus", "Europe/Berlin"),
    Case("a rep who is none", (*FOLLOW_UP, "-v", BARRY, "--rep", "kim@consulting.example"), "no mailbox of the config", "sam@consulting.example"),
    Case("an ask without confirmed value", ("enroll", DANA, "ask", "-v", "problem=x"), "has not confirmed the value", "--override REASON"),
    Case("somebody who is never mailed again", (*FOLLOW_UP, "-v", BARRY), "is suppressed", "final", spoil=suppressed),
    Case("somebody who is in it already", (*FOLLOW_UP, "-v", BARRY), "in follow_up_1_1_1 already", "whoelse show", spoil=running),
    Case("a file of variables that is not there", (*FOLLOW_UP, "--from", "none.yaml"), "cannot be read: No such file", "--from", "none.yaml"),
    Case("a file of variables with a slip", (*FOLLOW_UP, "--from", "dana.yaml"), "variables cannot be read", "", r"dana\.yaml:2:\d+: ", 1,
         write("dana.yaml", "problem: late\nproblem: later\n")),
    Case("a file of variables that is a list", (*FOLLOW_UP, "--from", "dana.yaml"), "holds no variables", "name: value", r"dana\.yaml:1:1: ", 1, write("dana.yaml", "- a\n")),
    # what is not there
    Case("nobody of that address", ("show", "nobody@acme.example"), "nobody has the address", "whoelse status"),
    Case("no sequence of that name", ("show", "asks"), "no sequence 'asks'", "ask"),
    Case("no task of that handle", ("tasks", "done", "beef"), "no open task 'beef'", "`whoelse tasks`"),
    Case("no draft of that handle", ("drafts", "approve", "beef"), "no open draft 'beef'", "`whoelse drafts`"),
    Case("a word that settles nothing", ("replies", DANA, "maybe"), "nothing of", "whoelse replies"),
    Case("a mark that is none", ("mark", DANA, "bought"), "'bought' is no mark", "introduced, named"),
    Case("a step that is none", ("preview", "ask", DANA, "--step", "who"), "no email step 'who'", "who_else"),
    Case("a message that is not there", ("classify", "none.eml"), "cannot be read: No such file", "name a file", "none.eml"),
    Case("init into a file", ("init", "config.yaml"), "is a file", "name a folder", "config.yaml"),
    # secrets
    Case("no key", (*FOLLOW_UP, "-v", BARRY), "installation's key", "create|restore|backup", "secret.key", 1, remove("secret.key")),
    Case("a key that others can read", (*FOLLOW_UP, "-v", BARRY), "others can read", "chmod 600", "secret.key", 1, lambda folder: (folder / "secret.key").chmod(0o644)),
    Case("a key that is too short", (*FOLLOW_UP, "-v", BARRY), "shorter than", "backup", "secret.key", 1, write("secret.key", "short\n")),
    Case("a password that is not set", CONNECT, "WHOELSE_PASSWORD, which is not set", "set WHOELSE_PASSWORD", "sam@consulting.example"),
    Case("a password that others can read", CONNECT, "others can read", "chmod 600", "password", 1, world_readable),
    # servers
    Case("a server that is not there", CONNECT, "refused the connection", "check host and port", r"127\.0\.0\.1:\d+", 1, nowhere),
    Case("a host that does not exist", CONNECT, "cannot be found|did not answer|cannot be reached", "check|network", r"mail\.invalid:25", 1, unknown_host),
    # the store
    Case("a store that is something else", STATUS, "not a database", "name another", "", 1, write("whoelse.db", "this is a letter to my aunt, not a database at all\n" * 40)),
    Case("a store in a folder that is not there", STATUS, "unable to open", "folder is there", r"gone/whoelse\.db", 1, config("store: whoelse.db", "store: gone/whoelse.db")),
    Case("a PostgreSQL server that is not there", STATUS, "cannot be used: .*(refused|failed)", "server runs", r"127\.0\.0\.1", 1,
         config("store: whoelse.db", "store: postgresql://nobody@127.0.0.1:1/none")),
]  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_it_is_said_what_is_wrong_where_and_what_to_do(
    case: Case, project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    case.spoil(project)
    capsys.readouterr()
    code = main(case.words)
    said = capsys.readouterr()
    text = " ".join((said.out + said.err).split())
    assert code == case.code, text
    for pattern in (case.says, case.place, case.remedy):
        assert re.search(pattern, text), text
    assert "Traceback" not in text and "Error:" not in text.replace("Error: Invalid", "").replace(
        "Error: No such", ""
    ).replace("Error: Missing", "")
    if case.words not in (CHECK, CONNECT):
        assert not said.out, "errors go to standard error"


def test_a_password_in_the_config_is_not_repeated(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config("{ env: WHOELSE_PASSWORD }", "hunter2")(project)
    assert main(["status"]) == 2
    assert "hunter2" not in capsys.readouterr().err


def test_a_login_that_fails_is_in_the_json_too(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    nowhere(project)
    assert main(["check", "--connect", "--json"]) == 1
    found = json.loads(capsys.readouterr().out)
    assert found["ok"] is False and found["problems"] == []
    assert [(login["server"], login["ok"]) for login in found["connections"]] == [("SMTP", False), ("IMAP", False)]


# --- what needs a world of its own -----------------------------------------------------------------------------------


@contextlib.contextmanager
def refusing(greeting: bytes, answers: dict[bytes, bytes]) -> Iterator[int]:
    """A server on loopback that answers each command by its first word, and refuses every password."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.settimeout(20)

        def serve() -> None:
            with contextlib.suppress(OSError):
                while True:
                    connection, _ = listening.accept()
                    with connection, connection.makefile("rwb", buffering=0) as wire:
                        wire.write(greeting)
                        while line := wire.readline():
                            tag, *rest = line.split()
                            word = (rest[0] if greeting.startswith(b"*") and rest else tag).upper()
                            wire.write(answers.get(word, b"500 what?\r\n").replace(b"TAG", tag))

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield listening.getsockname()[1]


def test_a_wrong_password_for_smtp_is_said_and_not_repeated(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    answers = {
        b"EHLO": b"250-here\r\n250 AUTH PLAIN LOGIN\r\n",
        b"AUTH": b"535 5.7.8 authentication failed: not-the-password\r\n",
        b"QUIT": b"221 bye\r\n",
    }
    with refusing(b"220 here\r\n", answers) as port:
        at_port(project, port)
        config(
            f"imap: {{ host: 127.0.0.1, port: {port}, security: none }}",
            "imap: { host: 127.0.0.1, port: 1, security: none }",
        )(project)
        assert main(["check", "--connect"]) == 1
    text = " ".join(capsys.readouterr().out.split())
    assert re.search(rf"sam@consulting\.example: SMTP .*127\.0\.0\.1:{port}.*password", text)
    assert "not-the-password" not in text and "Traceback" not in text


def test_a_wrong_password_for_imap_is_said_and_not_repeated(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    answers = {
        b"CAPABILITY": b"* CAPABILITY IMAP4rev1 IDLE\r\nTAG OK done\r\n",
        b"LOGIN": b"TAG NO [AUTHENTICATIONFAILED] not-the-password is wrong\r\n",
        b"LOGOUT": b"* BYE\r\nTAG OK bye\r\n",
    }
    with refusing(b"* OK [CAPABILITY IMAP4rev1 IDLE] here\r\n", answers) as port:
        at_port(project, port)
        config(
            f"smtp: {{ host: 127.0.0.1, port: {port}, security: none }}",
            "smtp: { host: 127.0.0.1, port: 1, security: none }",
        )(project)
        assert main(["check", "--connect"]) == 1
    text = " ".join(capsys.readouterr().out.split())
    assert re.search(rf"sam@consulting\.example: IMAP .*127\.0\.0\.1:{port}.*(password|login)", text)
    assert "not-the-password" not in text and "Traceback" not in text


def test_a_locked_store_says_that_another_program_holds_it(
    project: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert main(["status"]) == 0
    monkeypatch.setattr("engine.database.BUSY_TIMEOUT_SECONDS", 0.1)
    holder = sqlite3.connect(project / "whoelse.db", isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    capsys.readouterr()
    assert main([*FOLLOW_UP, "-v", BARRY]) == 1
    holder.execute("ROLLBACK")
    holder.close()
    said = capsys.readouterr()
    assert not said.out and re.search("the store cannot be used: .*locked; another program holds it", said.err)
    assert main([*FOLLOW_UP, "-v", BARRY]) == 0


def limited(bytes_max: int) -> Callable[[], None]:
    """A child that may write no file beyond this size: what a full disk looks like, without filling one."""

    def limit() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (bytes_max, bytes_max))

    return limit


def in_child(*words: str, bytes_max: int, stdout: int = subprocess.PIPE) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, "-m", "engine", *words]
    return subprocess.run(
        command, stdout=stdout, stderr=subprocess.PIPE, text=True, env=env, preexec_fn=limited(bytes_max), timeout=120
    )


def test_a_full_disk_says_so_and_enrolls_nobody(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["status"]) == 0
    size = (project / "whoelse.db").stat().st_size
    ran = in_child(*FOLLOW_UP, "-v", BARRY, bytes_max=size // 2)
    assert ran.returncode == 1 and not ran.stdout
    assert re.search(r"the store cannot be used: .*(full|I/O)", ran.stderr) and "disk" in ran.stderr
    assert "Traceback" not in ran.stderr
    capsys.readouterr()
    assert main(["status"]) == 0
    assert "Nobody is in a sequence" in capsys.readouterr().out


def test_init_on_a_full_disk_says_which_file_it_was(tmp_path: Path) -> None:
    ran = in_child("init", str(tmp_path / "new"), bytes_max=100)
    assert ran.returncode == 1 and "Traceback" not in ran.stderr
    assert re.search(r"whoelse: .*(too large|No space)", ran.stderr)


def test_an_output_that_cannot_be_written_is_said(project: Path) -> None:
    with open("/dev/full", "w") as full:
        ran = in_child("status", bytes_max=10**9, stdout=full.fileno())
    assert ran.returncode == 1
    assert "the output cannot be written: No space left on device" in ran.stderr and "Traceback" not in ran.stderr


def test_a_second_daemon_says_who_holds_the_store_and_ends(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from engine.run import only_one

    with only_one(str(project / "whoelse.db")):
        assert main(["run", "--once"]) == 1
    said = capsys.readouterr()
    assert str(os.getpid()) in said.err and "Traceback" not in said.err
