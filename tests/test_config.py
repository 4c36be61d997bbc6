"""The configuration is read whole or refused whole, with every problem in its place; secrets stay where they are kept."""

from __future__ import annotations

import logging
import os
import re
import stat
import sys
import time
import traceback
from datetime import date
from pathlib import Path

import pytest

from engine import config, secrets
from engine.config import Config, Mailbox, Password, Server, load_config
from engine.core.calendar import Place
from engine.errors import UserError

EXAMPLE = Path(__file__).parent.parent / "config.example.yaml"
ONE = "mailboxes:\n  - address: sam@consulting.example\n    name: Sam Carter\n"
SECRET = "hunter2-secret-hunter2"


def read(folder: Path, text: str, environ: dict[str, str] | None = None, thorough: bool = False) -> Config:
    path = folder / "config.yaml"
    path.write_text(text)
    return load_config(path, environ or {}, thorough)


def refused(folder: Path, text: str, thorough: bool = False) -> list[str]:
    with pytest.raises(UserError) as caught:
        read(folder, text, thorough=thorough)
    assert caught.value.exit_code == 2
    return [str(problem).replace(f"{folder}/", "") for problem in caught.value.problems]


def box(folder: Path, lines: str) -> Mailbox:
    return read(folder, ONE + "".join(f"    {line}\n" for line in lines.splitlines())).mailboxes[0]


# --- the example -------------------------------------------------------------------------------------------------------


def test_the_example_loads_as_it_is_and_needs_no_secret():
    found = load_config(EXAMPLE, {}, thorough=True)
    (sam,) = found.mailboxes
    assert sam.values == {
        "name": "Sam Carter",
        "first_name": "Sam",
        "email": "sam@consulting.example",
        "company": "Example Consulting",
        "title": "Partner",
        "phone": "",
    }
    assert found.place(sam) == Place("Europe/Berlin", "DE", "")
    assert (sam.gap, sam.per_day, sam.sent) == ((120, 300), 25, "auto")
    assert found.calendar.blackouts == {date(2026, 12, 24): "Christmas Eve", date(2026, 12, 31): "New Year's Eve"}


def test_every_key_stands_in_the_example_with_a_comment():
    text = EXAMPLE.read_text()
    for keys in (config.KEYS, config.COMPANY_KEYS, config.MAILBOX_KEYS):
        for key in keys:
            found = re.search(rf"^[ #-]*{key}:(.*)$", text, re.MULTILINE)
            assert found, key
            before = text[: found.start()].rstrip("\n").rpartition("\n")[2]
            assert "#" in found[1] or before.lstrip().startswith("#"), f"{key} has no comment"


def test_what_the_example_shows_as_default_is_the_default(tmp_path: Path):
    shown, bare = load_config(EXAMPLE, {}), read(tmp_path, ONE)
    names = [*config._DURATIONS, "apply", "log_format"]
    assert {name: getattr(shown, name) for name in names} == {name: getattr(bare, name) for name in names}
    assert shown.calendar.windows == bare.calendar.windows
    assert (shown.mailboxes[0].per_day, shown.mailboxes[0].gap) == (bare.mailboxes[0].per_day, bare.mailboxes[0].gap)


def test_every_optional_line_of_the_example_can_be_uncommented(tmp_path: Path):
    """Those that exclude another line take its place."""
    text = EXAMPLE.read_text().replace("    password: {", "    # password: {")
    lines = [re.sub(r"^( *)# (?=[a-z_]+: )", r"\1", line) for line in text.splitlines()]
    found = read(tmp_path, "\n".join(line for line in lines if not line.strip().startswith("password:")), thorough=True)
    assert found.mailboxes[0].token_command == ("/usr/local/bin/mail-token", "sam@consulting.example")
    assert found.mailboxes[0].cafile == str(tmp_path / "company-ca.pem")
    assert found.place(found.mailboxes[0]) == Place("Europe/London", "GB", "ENG")


# --- what it gives -----------------------------------------------------------------------------------------------------


def test_a_mailbox_is_found_by_any_of_its_addresses(tmp_path: Path):
    found = read(tmp_path, ONE + "    aliases: [S.Carter@Consulting.example]\n")
    assert found.mailbox("SAM@consulting.example") is found.mailboxes[0] is found.mailbox("s.carter@consulting.example")
    assert found.mailbox("lee@consulting.example") is None


@pytest.mark.parametrize(
    ("lines", "smtp", "imap", "sent"),
    [
        ("provider: gmail", "smtp.gmail.com", "imap.gmail.com", "server"),
        ("provider: microsoft365", "smtp.office365.com", "outlook.office365.com", "server"),
        ("provider: icloud", "smtp.mail.me.com", "imap.mail.me.com", "append"),
        ("provider: zoho\nsent: append", "smtppro.zoho.com", "imappro.zoho.com", "append"),
        (
            "provider: fastmail\nimap: {host: localhost, port: 1143, security: none}",
            "smtp.fastmail.com",
            "localhost",
            "auto",
        ),
    ],
)
def test_a_provider_fills_in_what_the_config_does_not_say(tmp_path: Path, lines: str, smtp: str, imap: str, sent: str):
    sam = box(tmp_path, lines)
    assert (sam.server("smtp").host, sam.server("imap").host, sam.sent) == (smtp, imap, sent)


def test_an_address_at_a_known_provider_needs_no_line(tmp_path: Path):
    sam = read(tmp_path, ONE.replace("consulting.example", "gmail.com")).mailboxes[0]
    assert sam.server("smtp") == Server("smtp.gmail.com", 465, "tls")


def test_a_mailbox_without_servers_loads_and_says_what_is_missing_when_it_is_used(tmp_path: Path):
    with pytest.raises(UserError, match="has no imap server yet; add `imap:"):
        box(tmp_path, "title: Partner").server("imap")


def test_files_are_beside_the_config(tmp_path: Path):
    found = read(tmp_path, "store: data/w.db\nsecret: k\n" + ONE + "    password: {file: pw}\n")
    assert (found.store, found.secret) == (str(tmp_path / "data/w.db"), tmp_path / "k")
    assert found.mailboxes[0].password == Password("file", str(tmp_path / "pw"))


def test_the_store_may_be_a_server_and_the_environment_beats_the_file(tmp_path: Path):
    assert read(tmp_path, "store: postgresql://me@db/whoelse\n" + ONE).store == "postgresql://me@db/whoelse"
    url = f"postgresql://me:{SECRET}@db/whoelse"
    found = read(tmp_path, ONE, {"WHOELSE_STORE": url})
    assert found.store == url
    assert SECRET not in repr(found)


def test_a_reps_place_is_their_own_or_the_companys(tmp_path: Path):
    company = "company: {zone: America/New_York, country: US, subdivision: CA}\n"
    found = read(tmp_path, company + ONE)
    assert found.place(found.mailboxes[0]) == Place("America/New_York", "US", "CA")
    moved = read(tmp_path, company + ONE + "    zone: Europe/Vienna\n    country: AT\n")
    assert moved.place(moved.mailboxes[0]) == Place("Europe/Vienna", "AT", "")


def test_windows_and_lengths_are_read(tmp_path: Path):
    found = read(
        tmp_path, "windows: {late: {mon: '18:00-20:00'}}\nrest: 2 months\nfull_read: 5 minutes\nholidays: false\n" + ONE
    )
    assert set(found.calendar.windows) == {"business_hours", "late"}
    assert found.calendar.windows["late"].name == "late"
    assert (found.rest.months, found.full_read.minutes, found.calendar.holidays) == (2, 5, False)


# --- what it refuses ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", 'config.yaml:1:1: the config lacks "mailboxes"'),
        ("- a\n", "config.yaml:1:1: the config takes a mapping of store"),
        ("mailboxes: []\n", 'config.yaml:1:12: the config has nothing in "mailboxes"'),
        ("mailboxs: []\n" + ONE, 'config.yaml:1:1: the config has no key "mailboxs"; did you mean "mailboxes"?'),
        (
            "apply: auto\n" + ONE,
            'config.yaml:1:8: the config takes one of automatic, manual for "apply", not "auto"; did you mean',
        ),
        ("rest: 90\n" + ONE, 'config.yaml:1:7: the config has for rest "90"; use minutes, hours, days'),
        ("late_after: 1 fortnight\n" + ONE, "config.yaml:1:13: the config has for late_after"),
        (
            "full_read: 1 hour\n" + ONE,
            'config.yaml:1:12: the config reads mailboxes every "1 hour"; write 1 minute to 10',
        ),
        ("holidays: yes\n" + ONE, 'config.yaml:1:11: the config takes true or false for "holidays", not "yes"'),
        ("blackout: {24.12.: x}\n" + ONE, "config.yaml:1:"),
        ("blackout: {2026-02-30: x}\n" + ONE, "config.yaml:1:"),
        ("windows: {w: {mon: 9-5}}\n" + ONE, 'config.yaml:1:14: window "w" has the time "9"; write it like 09:00'),
        ("windows: {w: {mo: '09:00-10:00'}}\n" + ONE, 'config.yaml:1:14: window "w" has the day "mo"'),
        (
            "company: {zone: Berlin}\n" + ONE,
            'config.yaml:1:17: the config has a zone that is unknown: "Berlin" is no time zone',
        ),
        ("company: {county: DE}\n" + ONE, 'config.yaml:1:11: the config has no key "county"; did you mean "country"?'),
        ("store: mysql://x\n" + ONE, "config.yaml:1:8: the config has a store of an unknown kind; write a file name"),
        (
            f"store: postgresql://a:{SECRET}@b/c\n" + ONE,
            "config.yaml:1:8: the config has a password in its store; leave it out",
        ),
        (
            f"store: postgresql://b/c?password={SECRET}\n" + ONE,
            "config.yaml:1:8: the config has a password in its store",
        ),
        ("log_format: xml\n" + ONE, "config.yaml:1:13: the config takes one of text, json"),
        (ONE + "store: a\nstore: b\n", 'config.yaml:5:1: the key "store" stands twice'),
        (ONE + "  x: [\n", "config.yaml:4:"),
        ("mailboxes:\n  - name: Sam\n", 'config.yaml:2:5: mailbox 1 lacks "address"'),
        (
            "mailboxes:\n  - address: sam\n    name: Sam\n",
            'config.yaml:2:14: mailbox "sam" takes an address for "address"',
        ),
        (ONE + "    per_day: 0\n", 'config.yaml:4:14: mailbox "sam@consulting.example" takes a number from 1 to 2000'),
        (ONE + "    per_day: true\n", "config.yaml:4:14: "),
        (ONE + "    gap: 300-120 seconds\n", "config.yaml:4:10: "),
        (ONE + "    gap: soon\n", 'takes a span of time for "gap", not "soon"; like 120-300 seconds'),
        (ONE + "    provider: hotmail\n", "config.yaml:4:15: "),
        (
            ONE + "    smtp: {host: a.example, security: tls}\n",
            'config.yaml:4:11: mailbox "sam@consulting.example" lacks "port"',
        ),
        (ONE + "    smtp: {host: a.example, port: 0, security: ssl}\n", "takes one of starttls, tls, none"),
        (
            ONE + f"    password: {SECRET}\n",
            'config.yaml:4:15: mailbox "sam@consulting.example" has a password that is no name of a place',
        ),
        (ONE + f"    password: {{env: A, file: {SECRET}}}\n", "config.yaml:4:15: "),
        (ONE + f"    password: {{plain: {SECRET}}}\n", "write {env: NAME}, {file: PATH} or {keyring: SERVICE}"),
        (ONE + "    password: {env: A}\n    token_command: b\n", "config.yaml:5:5: "),
        (ONE + '    token_command: "\'open"\n', "has a token_command with a quote that is not closed; close it"),
        (ONE + "    variables: x\n", "config.yaml:4:16: "),
        (
            ONE + "  - address: lee@x.example\n    name: Lee\n    aliases: [SAM@consulting.example]\n",
            "which is sam@consulting.example's",
        ),
    ],
)
def test_what_is_wrong_is_said_with_its_place(tmp_path: Path, text: str, problem: str):
    said = refused(tmp_path, text)
    assert any(problem in line for line in said), said
    assert SECRET not in "".join(said)


def test_all_problems_are_said_at_once(tmp_path: Path):
    said = refused(tmp_path, "stor: x\nrest: soon\n" + ONE + "    gap: x\n    per_day: x\n  - adress: y\n")
    assert len(said) == 7


def test_an_unknown_country_is_found_by_a_thorough_look(tmp_path: Path):
    text = "company: {country: XX}\n" + ONE + "    country: DE\n    subdivision: XX\n"
    read(tmp_path, text)
    said = refused(tmp_path, text, thorough=True)
    assert 'no holidays are known for country "XX"' in said[0] and '"XX" is no subdivision of DE' in said[1]


def test_a_missing_config_says_how_to_make_one(tmp_path: Path):
    with pytest.raises(UserError) as caught:
        load_config(tmp_path / "config.yaml", {})
    assert str(caught.value).endswith(
        "config.yaml: no config can be read: No such file or directory; `whoelse init` makes one, --config or WHOELSE_CONFIG names one"
    )
    assert caught.value.exit_code == 2


def test_a_config_that_is_no_text_is_refused(tmp_path: Path):
    (tmp_path / "config.yaml").write_bytes(b"store: \xff\n")
    with pytest.raises(UserError, match="not UTF-8"):
        load_config(tmp_path / "config.yaml", {})


def test_the_schema_knows_every_key():
    schema = config.config_schema()
    assert set(schema["properties"]) == set(config.KEYS)
    assert set(schema["properties"]["mailboxes"]["items"]["properties"]) == set(config.MAILBOX_KEYS)


# --- secrets -----------------------------------------------------------------------------------------------------------


def private(path: Path, content: str, mode: int = 0o600) -> Path:
    path.write_text(content)
    path.chmod(mode)
    return path


def complaint(mailbox: Mailbox, environ: dict[str, str]) -> str:
    """What is said when the secret cannot be had, with everything that a log could show."""
    with pytest.raises(UserError) as caught:
        secrets.secret(mailbox, environ)()
    said = "".join(traceback.format_exception(caught.value)) + repr(mailbox) + repr(secrets.secret(mailbox, environ))
    assert SECRET not in said
    return str(caught.value)


def test_a_password_comes_from_the_environment_when_it_is_used(tmp_path: Path):
    sam = box(tmp_path, "password: {env: PW}")
    environ: dict[str, str] = {}
    ask = secrets.secret(sam, environ)
    assert "environment variable PW, which is not set; set PW" in complaint(sam, environ)
    environ["PW"] = SECRET
    assert ask() == SECRET


def test_a_password_file_is_read_only_if_nobody_else_can(tmp_path: Path):
    sam = box(tmp_path, "password: {file: pw}")
    assert "No such file" in complaint(sam, {})
    private(tmp_path / "pw", f"{SECRET}\r\nsecond line\n")
    assert secrets.secret(sam, {})() == SECRET
    for mode in (0o640, 0o604, 0o660, 0o644):
        (tmp_path / "pw").chmod(mode)
        assert complaint(sam, {}).endswith(f"which others can read; chmod 600 {tmp_path / 'pw'}")
    private(tmp_path / "pw", "\n")
    assert "first line is empty" in complaint(sam, {})
    (tmp_path / "pw").write_bytes(b"\xff\xfe")
    assert "is no text" in complaint(sam, {})


def test_a_password_comes_from_the_keyring(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    keyring = pytest.importorskip("keyring")
    sam = box(tmp_path, "user: sam\npassword: {keyring: whoelse}")

    class Ring(keyring.backend.KeyringBackend):
        priority = 1
        kept: dict[tuple[str, str], str] = {}

        def get_password(self, service: str, username: str) -> str | None:
            return self.kept.get((service, username))

        def set_password(self, service: str, username: str, password: str) -> None:
            self.kept[service, username] = password

    before = keyring.get_keyring()
    keyring.set_keyring(Ring())
    try:
        assert complaint(sam, {}) == "the keyring has no password for sam under whoelse; keyring set whoelse sam"
        keyring.set_password("whoelse", "sam", SECRET)
        assert secrets.secret(sam, {})() == SECRET
    finally:
        keyring.set_keyring(before)


def test_a_machine_without_a_keyring_is_told_what_to_do(tmp_path: Path):
    import keyring
    from keyring.backends import fail

    before = keyring.get_keyring()
    keyring.set_keyring(fail.Keyring())
    try:
        assert "use a file" in complaint(box(tmp_path, "password: {keyring: whoelse}"), {})
    finally:
        keyring.set_keyring(before)


def program(folder: Path, lines: str) -> str:
    """A token_command whose arguments hold blanks and what a shell would take for its own."""
    script = folder / "a program.py"
    script.write_text(f"import os, sys, time\n{lines}\n")
    return f"token_command: {sys.executable} '{script}' '$(touch {folder}/shell)' ';' '&&' 'a b'"


def test_a_token_comes_from_a_program_without_a_shell(tmp_path: Path):
    sam = box(
        tmp_path, program(tmp_path, "print(os.environ['TOKEN'] if sys.argv[2:] == [';', '&&', 'a b'] else sys.argv)")
    )
    assert secrets.secret(sam, {"TOKEN": SECRET})() == SECRET
    assert not (tmp_path / "shell").exists()


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ("print(os.environ['TOKEN']); sys.exit(3)", "ended with exit code 3; run it by hand"),
        ("sys.exit(os.environ['TOKEN'])", "ended with exit code 1"),
        ("print(os.environ['TOKEN'], 'and more')", "did not print one token"),
        ("pass", "did not print one token"),
        ("sys.stdout.buffer.write(b'\\xff')", "did not print one token"),
    ],
)
def test_what_a_program_says_is_never_shown(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str], lines: str, said: str
):
    caplog.set_level(logging.DEBUG)
    assert said in complaint(box(tmp_path, program(tmp_path, lines)), {"TOKEN": SECRET})
    assert SECRET not in caplog.text + "".join(capfd.readouterr())


def lives(pid: str) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().split()[2] != "Z"
    except OSError:
        return False


def test_a_program_that_hangs_is_ended_with_its_children(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(secrets, "COMMAND_TIMEOUT_SECONDS", 4)
    child = "import subprocess\np = subprocess.Popen(['sleep', '600'])\nopen(os.environ['PID'], 'w').write(str(p.pid))\ntime.sleep(600)"
    sam = box(tmp_path, program(tmp_path, child))
    assert "gave nothing in 4 seconds" in complaint(sam, {"PID": str(tmp_path / "pid"), "PATH": os.environ["PATH"]})
    deadline = time.monotonic() + 60
    while lives((tmp_path / "pid").read_text()):  # a signal arrives when the kernel gets to it
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_a_program_that_is_not_there_is_named(tmp_path: Path):
    assert "cannot be started: /no/such/thing: No such file" in complaint(
        box(tmp_path, "token_command: /no/such/thing x"), {}
    )


def test_a_mailbox_without_a_password_says_what_to_add(tmp_path: Path):
    assert "has no password yet; add `password: {env: NAME}`" in complaint(box(tmp_path, "title: x"), {})


def test_no_repr_of_the_configuration_holds_a_command_or_a_store(tmp_path: Path):
    found = read(
        tmp_path, ONE + f"    token_command: get --secret {SECRET}\n", {"WHOELSE_STORE": f"postgresql://a:{SECRET}@b/c"}
    )
    assert SECRET not in repr(found) + str(found) + repr(found.mailboxes[0])


def test_the_installations_key_is_made_once_and_for_the_owner_alone(tmp_path: Path):
    found = read(tmp_path, ONE)
    with pytest.raises(UserError, match="secret.key: No such file"):
        secrets.installation_key(found, {})
    secrets.create_key(found.secret)
    assert stat.S_IMODE(found.secret.stat().st_mode) == 0o600
    key = secrets.installation_key(found, {})
    assert len(key) == 64 and key == secrets.installation_key(found, {})
    with pytest.raises(FileExistsError):
        secrets.create_key(found.secret)
    assert secrets.installation_key(found, {"WHOELSE_SECRET": "x" * 32}) == b"x" * 32
    with pytest.raises(UserError, match="shorter than 32"):
        secrets.installation_key(found, {"WHOELSE_SECRET": "short"})
    found.secret.chmod(0o644)
    with pytest.raises(UserError, match="chmod 600"):
        secrets.installation_key(found, {})


# --- errors ------------------------------------------------------------------------------------------------------------


def test_an_error_says_where_what_and_what_to_do():
    assert str(UserError("no such step", "a.yaml:3:5", "use day_1")) == "a.yaml:3:5: no such step; use day_1"
    assert str(UserError("no")) == "no" and UserError("no").exit_code == 1
