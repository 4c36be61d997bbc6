"""The command line as a rep uses it: every command runs in this process, over a real project and a real store."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import click
import jsonschema
import pytest
import servers

from engine import doubts, enrollments, outbox, troubles
from engine.__main__ import main
from engine.cli.app import FILES, app
from engine.cli.output import chosen, clean, when
from engine.config import load_config
from engine.core.model import OutboxState
from engine.core.words import handles
from engine.core.yaml_strict import load
from engine.enrollments import Wish
from engine.errors import UserError
from engine.imap import Fetched
from engine.inbox import receive
from engine.installation import Installation
from engine.letters import write
from engine.project import open_installation
from engine.smtp import Accepted, InDoubt

REP, DANA = "sam@consulting.example", "dana@acme.example"
MONDAY = datetime(2026, 3, 2, 8, 30, tzinfo=UTC)
BARRY = "Barry Jones <barry@northwind.example>, Northwind"
REVIEW = ("-v", "problems=Tenders took weeks", "-v", "results=Tenders out in two days", "-v", "problem=late tenders")
DATE = r"(Mon|Tue|Wed|Thu|Fri|Sat|Sun) \d{1,2} [A-Z][a-z]{2} 20\d\d \d\d:\d\d"


@dataclass(frozen=True)
class Ran:
    code: int
    out: str
    err: str


Whoelse = Callable[..., Ran]


@pytest.fixture
def whoelse(capsys: pytest.CaptureFixture[str]) -> Whoelse:
    """Runs a command line and gives its exit code and what it printed."""

    def run(*words: str) -> Ran:
        code = main(words)
        said = capsys.readouterr()
        return Ran(code, said.out, said.err)

    return run


@pytest.fixture
def project(first_project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project straight after `init` and a first command, and the place where we stand."""
    folder = tmp_path / "project"
    shutil.copytree(first_project, folder)
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def inst(project: Path) -> Iterator[Installation]:
    """The same project by its verbs, to bring it into a state at a certain time."""
    opened = open_installation(load_config(project / "config.yaml", {}), {}, MONDAY, print)
    yield opened
    opened.store.close()


def enrolled(inst: Installation, sequence: str = "follow_up_1_1_1", at: datetime = MONDAY, **values: object) -> str:
    contact = {"name": "Dana Whitfield", "company": "Acme"}
    given = {"prospect": BARRY, **values} if sequence != "value_review" else values
    made = enrollments.enroll(inst, Wish(DANA, sequence, given, contact=contact), at)
    assert not isinstance(made, list), made
    return made.id


def sends(inst: Installation, at: datetime, result: object = Accepted("250 queued")) -> str:  # noqa: B008
    """What is due leaves; returns the Message-ID."""
    enrollments.advance(inst, at)
    inst.store.add_mailbox(REP)
    epoch = inst.store.lease(REP, "test", at, at + timedelta(hours=1))
    assert epoch is not None
    inst.store.read_to_end(REP, at, at)
    claim = outbox.claim(inst, REP, epoch, at)
    assert isinstance(claim, outbox.Claim), claim
    assert outbox.start(inst, claim, at)
    outbox.record(inst, claim, result, at)  # type: ignore[arg-type]
    return claim.message.message_id


def answers(inst: Installation, text: str, to: str, at: datetime, subject: str = "Re: Barry") -> None:
    raw = (
        f"From: Dana Whitfield <{DANA}>\r\nTo: {REP}\r\nSubject: {subject}\r\nMessage-ID: <{at.timestamp()}@acme.example>\r\n"
        f"In-Reply-To: {to}\r\nReferences: {to}\r\nDate: Wed, 04 Mar 2026 10:00:00 +0100\r\n"
        f"Content-Type: text/plain; charset=utf-8\r\n\r\n{text}\r\n"
    ).encode()
    receive(inst, Fetched(REP, "INBOX", "inbox", 1, int(at.timestamp()), raw, len(raw), at), at)


# --- init ------------------------------------------------------------------------------------------------------------


def test_init_makes_a_project_and_says_the_next_commands(tmp_path: Path, whoelse: Whoelse) -> None:
    ran = whoelse("init", str(tmp_path / "new"))
    assert ran.code == 0
    bound, _, rest = (tmp_path / "new/config.yaml").read_bytes().partition(b"\n")
    assert rest == Path("config.example.yaml").read_bytes()
    assert bound == b"# yaml-language-server: $schema=.schemas/config.json"
    assert {"secret.key", "*.db", ".env"} <= set((tmp_path / "new/.gitignore").read_text().split())
    assert (tmp_path / "new/secret.key").stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "new/templates/ask/who_else.md").is_file()
    assert [line.split()[0:2] for line in ran.out.split("Next:")[1].splitlines()[1:5]] == [
        ["cd", str(tmp_path / "new")], ["whoelse", "check"], ["whoelse", "simulate"], ["whoelse", "enroll"],
    ]  # fmt: skip


def test_init_overwrites_nothing(project: Path, whoelse: Whoelse) -> None:
    key = (project / "secret.key").read_text()
    ran = whoelse("init", ".")
    assert ran.code == 1 and "is there already" in ran.err and "another folder" in ran.err
    assert (project / "secret.key").read_text() == key


def test_init_keeps_the_lines_of_a_gitignore(tmp_path: Path, whoelse: Whoelse) -> None:
    (tmp_path / ".gitignore").write_text("mine")
    assert whoelse("init", str(tmp_path)).code == 0
    assert (tmp_path / ".gitignore").read_text().split() == ["mine", "secret.key", "*.db", "*.db-*", ".env"]


def test_an_editor_finds_the_schema_of_every_file_and_underlines_nothing(project: Path, whoelse: Whoelse) -> None:
    files = [project / "config.yaml", *sorted((project / "sequences").glob("*.yaml"))]
    assert len(files) > 8
    for file in files:
        text = file.read_text()
        found = re.match(r"# yaml-language-server: \$schema=(\S+)\n", text)
        assert found, file
        schema = json.loads((file.parent / found[1]).read_text())
        errors = jsonschema.Draft7Validator(schema).iter_errors(load(file.name, text)[0])
        assert [f"{file.name}: {error.message}" for error in errors] == []


def test_schemas_can_be_written_anew(project: Path, whoelse: Whoelse) -> None:
    made = {file.name: file.read_text() for file in (project / ".schemas").iterdir()}
    assert set(made) == {"sequence.json", "triggers.json", "config.json"}
    for kind in made:
        (project / ".schemas" / kind).write_text("old")
    assert whoelse("schema", "--write").code == 0
    assert {file.name: file.read_text() for file in (project / ".schemas").iterdir()} == made


# --- straight after init ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "command",
    [
        "check", "simulate value_review", "simulate ask --when named@+3d", "preview ask dana@acme.example", "status",
        "show ask", "tasks", "replies", "referrals", "drafts", "doubts", "suppress", "plan",
    ],
)  # fmt: skip
def test_it_works_straight_after_init(project: Path, whoelse: Whoelse, command: str) -> None:
    ran = whoelse(*command.split())
    assert ran.code == 0, ran.err
    assert ran.out.strip()


@pytest.mark.parametrize(
    "command",
    ["check", "simulate ask", "preview ask dana@acme.example", "status", "show ask", "tasks", "replies", "referrals",
     "drafts", "doubts", "suppress", "plan", "apply", "schema"],
)  # fmt: skip
def test_json_is_one_document_and_nothing_else(project: Path, whoelse: Whoelse, command: str) -> None:
    words = command.split()
    ran = whoelse(*words, *(["--json"] if command != "schema" else []))
    assert ran.code == 0
    json.loads(ran.out)


def commands(group: click.Group, *before: str) -> Iterator[tuple[str, ...]]:
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        yield (*before, name)
        if isinstance(command, click.Group):
            yield from commands(command, *before, name)


@pytest.mark.parametrize("words", list(commands(app)), ids=" ".join)
def test_every_command_has_help_with_an_example(whoelse: Whoelse, words: tuple[str, ...]) -> None:
    ran = whoelse(*words, "--help")
    assert ran.code == 0
    assert re.search(rf"Examples?:\n    whoelse {' '.join(words)}\b", ran.out)


def test_the_config_may_be_named_before_or_behind_the_command_or_in_the_environment(
    project: Path, tmp_path: Path, whoelse: Whoelse, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    config = str(project / "config.yaml")
    assert whoelse("--config", config, "status").code == 0
    assert whoelse("tasks", "--config", config).code == 0
    assert whoelse("status").code == 2
    monkeypatch.setenv("WHOELSE_CONFIG", config)
    assert whoelse("status").code == 0
    assert whoelse("status", "--config", "other.yaml").code == 2


# --- before anything is sent -----------------------------------------------------------------------------------------


def test_check_names_every_problem_with_its_place(project: Path, whoelse: Whoelse) -> None:
    file = project / "sequences/ask.yaml"
    file.write_text(file.read_text().replace("email: ask/who_else", "email: ask/who_els"))
    ran = whoelse("check")
    assert ran.code == 1
    assert re.search(r"sequences/ask\.yaml:\d+:\d+: .*who_els", ran.out)
    found = json.loads(whoelse("check", "--json").out)
    assert found["ok"] is False
    assert set(found["problems"][0]) == {"severity", "file", "line", "column", "code", "message", "hint"}


def test_a_config_with_errors_is_an_answer_of_check_and_wrong_usage_elsewhere(project: Path, whoelse: Whoelse) -> None:
    (project / "config.yaml").write_text("mailboxes: []\nholidais: true\n")
    ran = whoelse("check", "--json")
    assert ran.code == 1 and json.loads(ran.out)["ok"] is False
    assert whoelse("status").code == 2


def test_simulate_prints_the_documented_shape(project: Path, whoelse: Whoelse) -> None:
    ran = whoelse("simulate", "ask", "--begin", "2026-03-02 09:30", "--when", "declined@2026-03-05T10:00", "--json")
    told = json.loads(ran.out)
    assert set(told) == {"sequence", "timeline", "outcome"}
    assert told["outcome"] == "declined"
    assert set(told["timeline"][0]) == {"at", "step", "action", "subject", "note"}
    assert told["timeline"][0]["at"] == "2026-03-02T09:30:00+01:00"
    assert {moment["action"] for moment in told["timeline"]} <= {"email", "task", "start", "event"}


@pytest.mark.parametrize(
    ("when_", "day"), [("+3d", "5 Mar"), ("+1w", "9 Mar"), ("+2 business days", "4 Mar"), ("+90min", "2 Mar")]
)
def test_an_event_may_come_after_a_time(project: Path, whoelse: Whoelse, when_: str, day: str) -> None:
    ran = whoelse("simulate", "ask", "--begin", "2026-03-02 09:30", "--when", f"declined@{when_}")
    assert re.search(rf"{day} 2026 .*declined", ran.out)


def test_a_simulated_sample_has_its_dates_behind_its_beginning(project: Path, whoelse: Whoelse) -> None:
    ran = whoelse("simulate", "value_review", "--begin", "2031-03-03 09:30")
    assert re.search(r"Thu 13 Mar 2031 10:00 +email +document", ran.out), ran.out


def test_the_rep_s_decisions_and_a_return_may_be_simulated(project: Path, whoelse: Whoelse) -> None:
    ran = whoelse("simulate", "prospect_outreach", "--begin", "2026-03-02 09:30", "--when", "approved:first@+2h")
    assert re.search(r"Mon 2 Mar 2026 11:30 +email +first", ran.out)
    away = whoelse("simulate", "ask", "--begin", "2026-03-02 09:30", "--when", "out_of_office:2026-03-16@+1d")
    assert "away until 2026-03-16" in " ".join(away.out.split())


def test_a_preview_continues_the_thread_and_keeps_nothing(project: Path, whoelse: Whoelse) -> None:
    ran = whoelse("preview", "ask", DANA, "-v", "problem=tenders that take weeks")
    assert re.search(r"Subject: (?!Re:)", ran.out) and "Subject: Re: " in ran.out
    assert "tenders that take weeks" in ran.out and "Hi Dana" in ran.out
    assert whoelse("show", DANA).code == 1  # nobody was kept


def test_a_page_of_previews_holds_no_script_and_escapes_names(project: Path, whoelse: Whoelse) -> None:
    ran = whoelse("preview", "ask", DANA, "--html", "-v", "problem=<script>alert(1)</script>")
    page = Path(ran.out.strip())
    assert "<script" not in page.read_text()
    page.unlink()


@pytest.mark.real
def test_check_connect_logs_in_to_real_servers_and_finds_the_folders(
    project: Path, whoelse: Whoelse, monkeypatch: pytest.MonkeyPatch, dovecot: servers.Dovecot, postfix: servers.Postfix
) -> None:
    address, password = next((user, secret) for user, secret in dovecot.users.items() if user.startswith("rep"))
    (project / "config.yaml").write_text(
        f"mailboxes:\n  - address: {address}\n    name: Sam Carter\n    cafile: {dovecot.cafile}\n"
        f"    smtp: {{host: localhost, port: {postfix.submission_port}, security: starttls}}\n"
        f"    imap: {{host: localhost, port: {dovecot.imaps_port}, security: tls}}\n    password: {{env: REP_PASSWORD}}\n"
    )
    monkeypatch.setenv("REP_PASSWORD", password)
    ran = whoelse("check", "--connect")
    for _ in range(5):
        if "454" in ran.out:  # a real server that is very busy says so
            ran = whoelse("check", "--connect")
    assert ran.code == 0, ran.out
    assert f"{address}: SMTP works" in ran.out and "sent is 'Sent'" in ran.out
    monkeypatch.setenv("REP_PASSWORD", "wrong-one")
    ran = whoelse("check", "--connect")
    assert ran.code == 1 and ran.out.count("password") >= 2 and "wrong-one" not in ran.out


# --- enroll ----------------------------------------------------------------------------------------------------------


def test_enroll_prints_the_date_and_subject_of_every_email_to_come(project: Path, whoelse: Whoelse) -> None:
    ran = whoelse(
        "enroll", DANA, "value_review", "--name", "Dana Whitfield", "--company", "Acme",
        "-v", f"review_call={datetime.now(UTC) + timedelta(days=60):%Y-%m-%d} 10:00", *REVIEW,
    )  # fmt: skip
    assert ran.code == 0, ran.err
    rows = re.findall(rf"^  {DATE} +(email|task) +(\w+)", ran.out, re.M)
    assert [step for _, _, step in rows] == ["document", "prepare", "confirm", "reminder", "call"]
    assert "What we promised Acme" in ran.out
    assert "value_review" in whoelse("status").out


def test_what_comes_too_late_and_what_waits_for_the_rep_is_told_beforehand(project: Path, whoelse: Whoelse) -> None:
    said = whoelse("enroll", DANA, "value_review", "--dry-run", "-v", "review_call=2020-03-12 10:00", *REVIEW).out
    assert re.search(rf"{DATE}  skipped +document +\(it would leave later", said)
    assert re.search(rf"{DATE}  draft +confirm .*\(overdue", said, re.S)


def test_a_dry_run_enrolls_nobody(project: Path, whoelse: Whoelse) -> None:
    ran = whoelse("enroll", DANA, "value_review", "--dry-run", "-v", "review_call=2099-03-12 10:00", *REVIEW)
    assert ran.code == 0 and "Nobody was enrolled" in ran.out
    assert "Nobody is in a sequence" in whoelse("status").out


def test_a_refusal_says_every_reason_with_its_remedy_and_leaves_nothing(project: Path, whoelse: Whoelse) -> None:
    ran = whoelse("enroll", DANA, "ask")
    assert ran.code == 1 and not ran.out
    assert "needs problem" in ran.err and "-v problem=" in ran.err
    assert "has not confirmed the value" in ran.err and "--override REASON" in ran.err
    assert whoelse("show", DANA).code == 1


def test_an_override_is_recorded(project: Path, whoelse: Whoelse) -> None:
    ran = whoelse("enroll", DANA, "ask", "-v", "problem=late tenders", "--override", "she told me on the phone")
    assert ran.code == 0, ran.err
    assert "she told me on the phone" in whoelse("show", DANA).out


def test_variables_come_from_a_file_and_those_on_the_line_beat_them(project: Path, whoelse: Whoelse) -> None:
    (project / "dana.yaml").write_text(
        "prospect: {name: Barry Jones, email: barry@northwind.example}\nproblem: late tenders\n"
    )
    ran = whoelse("enroll", DANA, "follow_up_1_1_1", "--from", "dana.yaml", "-v", "problem=slow closing", "--json")
    assert ran.code == 0 and json.loads(ran.out)["enrolled"] is True
    shown = json.loads(whoelse("status", "--json").out)["enrollments"][0]
    assert shown["prospect"] == "Barry Jones" and shown["state"] == "active"


def test_times_are_in_the_zone_of_the_person(project: Path, whoelse: Whoelse) -> None:
    ran = whoelse(
        "enroll", "kim@acme.example", "follow_up_1_1_1", "-v", f"prospect={BARRY}", "--zone", "Pacific/Auckland"
    )
    assert ran.code == 0 and "Times are in Pacific/Auckland" in ran.out


def test_change_shows_the_dates_that_move_and_moves_them(project: Path, whoelse: Whoelse, inst: Installation) -> None:
    enrolled(
        inst, "value_review", review_call="2099-03-12 10:00", problems=["late"], results=["on time"], problem="late"
    )  # fmt: skip
    looked = whoelse("change", DANA, "value_review", "-v", "review_call=2099-03-19 10:00", "--dry-run")
    assert looked.code == 0 and "Nothing was changed" in looked.out
    ran = whoelse("change", DANA, "value_review", "-v", "review_call=2099-03-19 10:00")
    assert re.search(rf"document +{DATE} +-> +{DATE}", ran.out)
    assert "17 Mar 2099" in whoelse("status").out


# --- status and show -------------------------------------------------------------------------------------------------


def test_show_tells_the_whole_story_in_order_with_rules_and_words(whoelse: Whoelse, inst: Installation) -> None:
    enrolled(inst)
    sent = sends(inst, MONDAY + timedelta(days=1))
    answers(inst, "What exactly do you need from me?", sent, MONDAY + timedelta(days=2))
    ran = whoelse("show", DANA)
    story = ran.out[ran.out.index("Story (times in Europe/Berlin)") :]
    marks = [
        "Mon 2 Mar 2026 09:30",
        "Tue 3 Mar 2026 09:30  sent day_1",
        "Wed 4 Mar 2026 09:30  reply",
        "| What exactly",
    ]
    places = [story.index(mark) for mark in marks]
    assert places == sorted(places)
    assert "paused: waiting for rep" in ran.out
    assert "found by" in story  # the rule


def test_show_tells_of_an_edit_that_it_takes_up_itself(whoelse: Whoelse, inst: Installation) -> None:
    enrolled(inst)
    file = inst.config.folder / "sequences/follow_up_1_1_1.yaml"
    edited = file.read_text().replace("at: start + 1 week", "at: start + 9 days")
    assert edited != file.read_text()
    file.write_text(edited)
    assert "the sequence was edited" in whoelse("show", DANA).out


def test_show_in_full_also_quotes_what_was_sent(whoelse: Whoelse, inst: Installation) -> None:
    enrolled(inst)
    sends(inst, MONDAY + timedelta(days=1))
    assert "| Hi Dana" in whoelse("show", DANA, "--full").out
    assert "| Hi Dana" not in whoelse("show", DANA).out


def test_show_says_what_is_to_come(project: Path, whoelse: Whoelse) -> None:
    whoelse("enroll", DANA, "follow_up_1_1_1", "-v", f"prospect={BARRY}")
    coming = whoelse("show", DANA).out.split("To come")[1]
    assert re.findall(r"email +follow_up_1_1_1: (\w+)", coming) == ["day_1", "week_1", "month_1"]
    assert len(json.loads(whoelse("show", DANA, "--json").out)["ahead"]) >= 4


def test_status_puts_first_what_waits_for_the_rep(whoelse: Whoelse, inst: Installation) -> None:
    enrolled(inst)
    sent = sends(inst, MONDAY + timedelta(days=1))
    answers(inst, "What exactly do you need from me?", sent, MONDAY + timedelta(days=2))
    ran = whoelse("status")
    assert ran.out.startswith("Waiting for you:\n  1 answer  whoelse replies\n  1 task    whoelse tasks\n")
    assert re.search(rf"{REP}: read .*is `whoelse run` running\?", ran.out.replace("\n", " "))


def test_a_rep_sees_their_own_with_rep(project: Path, whoelse: Whoelse) -> None:
    config = project / "config.yaml"
    config.write_text(
        config.read_text().replace("windows:\n", "  - {address: kim@consulting.example, name: Kim Two}\nwindows:\n", 1)
    )
    for rep, client in ((REP, DANA), ("kim@consulting.example", "lee@harbour.example")):
        words = ("enroll", client, "follow_up_1_1_1", "--name", "Some Body", "--rep", rep, "-v", f"prospect={BARRY}")
        assert whoelse(*words).code == 0
    kims = whoelse("status", "--rep", "kim@consulting.example").out
    assert "lee@harbour.example" in kims and DANA not in kims and REP not in kims
    assert DANA in whoelse("status").out
    for command in ("tasks", "replies", "drafts", "doubts", "referrals"):
        assert whoelse(command, "--rep", REP).code == 0
        assert whoelse(command, "--rep", "nobody@consulting.example").code == 1


def test_nothing_that_is_printed_for_a_person_is_wider_than_a_terminal(whoelse: Whoelse, inst: Installation) -> None:
    enrolled(inst)
    sent = sends(inst, MONDAY + timedelta(days=1))
    answers(inst, "word " * 200, sent, MONDAY + timedelta(days=2), subject="Re: " + "long " * 30)
    for command in (("status",), ("show", DANA), ("replies",), ("tasks",), ("referrals",), ("show", "follow_up_1_1_1")):
        assert max(map(len, whoelse(*command).out.splitlines())) <= 100, command


def test_a_message_cannot_steer_the_terminal(whoelse: Whoelse, inst: Installation) -> None:
    enrolled(inst)
    sent = sends(inst, MONDAY + timedelta(days=1))
    answers(
        inst,
        "hello \x1b[2J\x07 \u202e there, who is this?",
        sent,
        MONDAY + timedelta(days=2),
        subject="=?utf-8?q?=1B]0;owned=07?=",
    )
    for command in (("replies",), ("show", DANA), ("tasks",)):
        assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e]", whoelse(*command).out)


def test_dates_have_a_weekday_and_the_zone_decides_the_day() -> None:
    at = datetime(2026, 3, 2, 23, 30, tzinfo=UTC)
    assert when(at, "Europe/Berlin") == "Tue 3 Mar 2026 00:30"
    assert when(at, "America/New_York") == "Mon 2 Mar 2026 18:30"


# --- by hand ---------------------------------------------------------------------------------------------------------


def test_pause_resume_and_stop(project: Path, whoelse: Whoelse) -> None:
    whoelse("enroll", DANA, "follow_up_1_1_1", "-v", f"prospect={BARRY}")
    assert whoelse("pause", DANA).code == 0
    assert "(Barry Jones)  paused by rep\n" in whoelse("status").out
    assert whoelse("resume", DANA, "follow_up_1_1_1").code == 0
    assert re.search(rf"day_1 on {DATE}", whoelse("status").out)
    assert whoelse("stop", DANA).code == 0
    assert "Nobody is in a sequence" in whoelse("status").out
    assert "ended: stopped by rep" in whoelse("status", "--all").out
    assert whoelse("stop", DANA).code == 1


def test_the_emergency_brake_is_obeyed_by_the_next_claim(whoelse: Whoelse, inst: Installation) -> None:
    enrolled(inst)
    enrollments.advance(inst, MONDAY + timedelta(days=1))
    inst.store.add_mailbox(REP)
    epoch = inst.store.lease(REP, "test", MONDAY, MONDAY + timedelta(days=2))
    assert epoch is not None
    assert whoelse("pause", "--all").code == 0
    held = outbox.claim(inst, REP, epoch, MONDAY + timedelta(days=1))
    assert isinstance(held, outbox.Nothing) and "paused" in held.why
    assert whoelse("status").out.startswith("Everything is paused")
    assert whoelse("resume", "--all").code == 0
    assert isinstance(outbox.claim(inst, REP, epoch, MONDAY + timedelta(days=1)), outbox.NeedsRead | outbox.Claim)


def test_the_brake_works_when_the_sequences_do_not(project: Path, whoelse: Whoelse) -> None:
    (project / "sequences/ask.yaml").write_text("steps: [")
    (project / "secret.key").unlink()
    assert whoelse("pause", "--all").code == 0


def test_mark_and_referrals(whoelse: Whoelse, inst: Installation) -> None:
    enrolled(inst)
    assert whoelse("mark", DANA, "introduced").code == 0
    log = json.loads(whoelse("referrals", "--json").out)
    assert [(r["prospect"]["name"], r["client"]) for r in log] == [("Barry Jones", DANA)]
    assert log[0]["introduced_at"]
    assert whoelse("mark", "barry@northwind.example", "met").code == 0
    assert "met" in whoelse("referrals").out
    shown = whoelse("show", "barry@northwind.example").out
    assert "introduction_answer" in shown and f"by {DANA}" in shown
    assert json.loads(whoelse("show", "barry@northwind.example", "--json").out)["referrals"][0]["met_at"]


def test_somebody_new_who_is_happy_can_be_asked_straight_away(project: Path, whoelse: Whoelse) -> None:
    ask = ("enroll", DANA, "ask", "-v", "problem=tenders that take weeks")
    refused = whoelse(*ask)
    assert refused.code == 1 and f"whoelse mark {DANA} confirmed" in refused.err
    unknown = whoelse("mark", DANA, "confirmed")
    assert unknown.code == 1 and "--name" in unknown.err
    assert whoelse("mark", DANA, "confirmed", "--name", "Dana Whitfield", "--company", "Acme").code == 0
    assert whoelse(*ask).code == 0
    assert "Dana Whitfield" in whoelse("show", DANA).out


def test_suppressing_is_final_and_stops_what_runs(whoelse: Whoelse, inst: Installation) -> None:
    enrolled(inst)
    assert whoelse("suppress", DANA, "--reason", "asked on the phone").code == 0
    assert DANA in whoelse("suppress").out
    assert "Nobody is in a sequence" in whoelse("status").out
    again = whoelse("enroll", DANA, "follow_up_1_1_1", "-v", f"prospect={BARRY}", "--override", "please")
    assert again.code == 1 and "suppressed" in again.err


# --- the lists -------------------------------------------------------------------------------------------------------


def test_replies_lists_an_answer_and_a_word_settles_it(whoelse: Whoelse, inst: Installation) -> None:
    enrolled(inst)
    sent = sends(inst, MONDAY + timedelta(days=1))
    answers(inst, "What exactly do you need from me?", sent, MONDAY + timedelta(days=2))
    assert "What exactly do you need" in whoelse("replies").out
    listed = json.loads(whoelse("replies", "--json").out)
    assert [(r["email"], r["event"]) for r in listed] == [(DANA, "reply")]
    said = whoelse("replies", DANA).out
    assert "read as reply (reply), paused: waiting for rep" in said
    assert all(f"\n  {word} " in said for word in ("confirmed", "declined", "named", "introduced", "continue", "stop"))
    ran = whoelse("replies", DANA, "declined")
    assert ran.code == 0 and "stopped: declined" in ran.out
    assert whoelse("replies").out.strip() == "No answer waits for a look."
    assert whoelse("replies", DANA, "declined").code == 1


def test_a_task_is_shown_and_ticked_off_by_its_handle(whoelse: Whoelse, inst: Installation) -> None:
    enrolled(inst)
    sent = sends(inst, MONDAY + timedelta(days=1))
    answers(inst, "What exactly do you need from me?", sent, MONDAY + timedelta(days=2))
    handle = whoelse("tasks").out.split()[0]
    assert "Dana" in whoelse("tasks", "show", handle).out
    assert whoelse("tasks", "done", handle, "--note", "called her").code == 0
    assert whoelse("tasks").out.strip() == "Nothing is to do."
    assert whoelse("tasks", "done", handle).code == 1


def drafted(inst: Installation) -> str:
    """The first email to a prospect waits for the rep's word."""
    wish = Wish("barry@northwind.example", "prospect_outreach", {"client": DANA, "prospect": BARRY})
    made = enrollments.enroll(inst, wish, MONDAY)
    assert not isinstance(made, list), made
    enrollments.advance(inst, MONDAY)
    (draft,) = inst.store.outbox_in(OutboxState.DRAFT)
    return draft.id


def test_an_approved_draft_goes_into_the_outbox(whoelse: Whoelse, inst: Installation) -> None:
    id = drafted(inst)
    handle = whoelse("drafts").out.split()[0]
    assert id.endswith(handle)
    assert "Hi Barry" in whoelse("drafts", "show", handle).out
    ran = whoelse("drafts", "approve", handle)
    assert ran.code == 0 and "Hi Barry" in ran.out  # what was approved is what was seen
    row = inst.store.outbox_message(id)
    assert row and row.state is OutboxState.QUEUED and row.approved_at
    assert whoelse("drafts", "approve", handle).code == 1


def test_an_edited_draft_leaves_word_for_word(
    whoelse: Whoelse, inst: Installation, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    id = drafted(inst)
    editor = project / "editor.sh"
    editor.write_text('#!/bin/sh\nprintf "Subject: Hello from Sam\\n\\nHi Barry,\\n\\nmy own words.\\n" > "$1"\n')
    editor.chmod(0o755)
    monkeypatch.delenv("VISUAL", raising=False)
    monkeypatch.setenv("EDITOR", str(editor))
    assert whoelse("drafts", "edit", id[-6:]).code == 0
    row = inst.store.outbox_message(id)
    assert row and row.state is OutboxState.QUEUED
    enrollment = inst.store.enrollment(row.enrollment)
    assert enrollment
    letter = write(inst, enrollment, row, MONDAY)
    assert letter.subject == "Hello from Sam" and letter.text.split() == ["Hi", "Barry,", "my", "own", "words."]


def test_an_edited_answer_in_a_conversation_keeps_its_subject_and_says_so(
    whoelse: Whoelse, inst: Installation, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    enrolled(inst)
    sends(inst, MONDAY + timedelta(days=1))
    enrollments.advance(inst, MONDAY + timedelta(days=20))  # the next is overdue by more than three days
    (draft,) = inst.store.outbox_in(OutboxState.DRAFT)
    editor = project / "editor.sh"
    editor.write_text('#!/bin/sh\nprintf "Subject: Something new\\n\\nHi Dana, late but not forgotten.\\n" > "$1"\n')
    editor.chmod(0o755)
    monkeypatch.setenv("VISUAL", str(editor))
    ran = whoelse("drafts", "edit", draft.id)
    assert ran.code == 0 and re.search("its subject stays .Re: ", ran.out)


def test_an_editor_that_changes_nothing_decides_nothing(
    whoelse: Whoelse, inst: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    id = drafted(inst)
    monkeypatch.delenv("VISUAL", raising=False)
    monkeypatch.setenv("EDITOR", "true")
    ran = whoelse("drafts", "edit", id)
    assert ran.code == 0 and "still waits" in ran.out
    assert len(json.loads(whoelse("drafts", "--json").out)) == 1


def test_a_rejected_draft_skips_its_step(whoelse: Whoelse, inst: Installation) -> None:
    id = drafted(inst)
    assert whoelse("drafts", "reject", id).code == 0
    row = inst.store.outbox_message(id)
    assert row and row.state is OutboxState.CANCELLED
    assert whoelse("drafts").out.strip() == "No draft waits for you."


@pytest.mark.parametrize(("word", "state"), [("sent", OutboxState.SENT), ("not-sent", OutboxState.QUEUED)])
def test_a_doubt_is_shown_with_its_evidence_and_a_word_settles_it(
    whoelse: Whoelse, inst: Installation, word: str, state: OutboxState
) -> None:
    enrolled(inst)
    message_id = sends(inst, MONDAY + timedelta(days=1), InDoubt("no answer came"))
    (doubt,) = inst.store.outbox_in(OutboxState.IN_DOUBT)
    unsearched = whoelse("doubts").out
    assert "not searched yet" in unsearched
    doubts.keep(inst.store, {doubt.id: doubts.Looked(MONDAY + timedelta(days=1, minutes=3), "not found")})
    ran = whoelse("doubts")
    assert message_id in ran.out and "no answer came" in ran.out
    assert f"follow_up_1_1_1: {doubt.step}, from {REP}" in ran.out
    assert "Due Tue 3 Mar 2026 09:30, attempt of Tue 3 Mar 2026 09:30" in ran.out
    assert "Sent was searched Tue 3 Mar 2026 09:33: not found." in ran.out
    assert "check --connect --probe" in ran.out and max(map(len, ran.out.splitlines())) <= 80
    (facts,) = json.loads(whoelse("doubts", "--json").out)
    assert facts["sequence"] == "follow_up_1_1_1" and facts["tried_at"] == "2026-03-03T09:30:00+01:00"
    assert facts["searched_at"] == "2026-03-03T09:33:00+01:00" and facts["search"] == "not found"
    handle = ran.out.split()[0]
    assert whoelse("doubts", handle, word).code == 0
    (row,) = inst.store.outbox_to(inst.store.contact_at(DANA).id)  # type: ignore[union-attr]
    assert row.state is state
    assert whoelse("doubts").out.strip() == "Nothing is in doubt."


@pytest.mark.parametrize(
    ("sent", "known", "said"),
    [
        ("auto", "", "check --connect --probe"),
        ("auto", "no", "The server does not file Sent by itself"),
        ("append", "yes", "The server does not file Sent by itself"),
        ("auto", "yes", "settles by itself"),
        ("server", "", "settles by itself"),
    ],
)
def test_a_doubt_says_what_would_settle_it(inst: Installation, sent: str, known: str, said: str) -> None:
    mailbox = replace(inst.config.mailboxes[0], sent=sent)
    inst.store.add_mailbox(REP)
    inst.store.learn_mailbox(REP, known, "")
    assert said in doubts.settles(inst.store, mailbox)


# --- for monitoring --------------------------------------------------------------------------------------------------


def long_ago(**length: float) -> datetime:
    return datetime.now(UTC) - timedelta(**length)


def is_read(inst: Installation, at: datetime) -> None:
    inst.store.add_mailbox(REP)
    inst.store.read_to_end(REP, at, at)


def fails(inst: Installation, at: datetime) -> None:
    is_read(inst, at - timedelta(seconds=1))
    inst.store.read_failed(REP, at, "imap.consulting.example:993 closed the connection")


def refused(inst: Installation) -> None:
    is_read(inst, long_ago(minutes=1))
    troubles.begin(inst, REP, troubles.SEND, "login_refused", "535 no", long_ago(minutes=1))


def doubted(inst: Installation) -> None:
    enrolled(inst)
    sends(inst, MONDAY + timedelta(days=1), InDoubt("no answer came"))
    is_read(inst, long_ago(minutes=1))


@pytest.mark.parametrize(
    ("happened", "said"),
    [
        (lambda inst: None, "last read never: is `whoelse run` running"),
        (lambda inst: is_read(inst, long_ago(hours=1)), "is `whoelse run` running"),
        (lambda inst: is_read(inst, long_ago(minutes=9)), ""),
        (lambda inst: fails(inst, long_ago(minutes=5)), ""),
        (lambda inst: fails(inst, long_ago(minutes=16)), "cannot be read since .* closed the connection"),
        (refused, "the login is refused since .*: 535 no"),
        (doubted, "in doubt since .* whoelse doubts"),
    ],
    ids=["never ran", "runs no more", "well", "a moment", "unreadable", "refused", "doubt"],
)
def test_monitoring_is_told_of_each_trouble_in_a_line_and_by_the_exit_code(
    whoelse: Whoelse, inst: Installation, happened: Callable[[Installation], None], said: str
) -> None:
    happened(inst)
    ran = whoelse("status", "--check")
    (line,) = ran.out.splitlines()
    assert (ran.code, line) == (0, "All is well.") if not said else (ran.code == 1 and re.search(said, line))
    found = json.loads(whoelse("status", "--check", "--json").out)
    assert found["ok"] is (not said) and [t["mailbox"] for t in found["troubles"]] == ([REP] if said else [])


def test_handles_are_the_shortest_ends_that_differ() -> None:
    ids = ["000a1111beef", "000a2222beef", "000b3333cafe"]
    assert handles(ids) == {"000a1111beef": "1beef", "000a2222beef": "2beef", "000b3333cafe": "cafe"}
    assert chosen("cafe", ids, "task", "whoelse tasks") == ids[2]
    assert chosen("000b", ids, "task", "whoelse tasks") == ids[2]
    with pytest.raises(UserError, match="means 2 tasks"):
        chosen("beef", ids, "task", "whoelse tasks")
    with pytest.raises(UserError, match="no open task"):
        chosen("", ids, "task", "whoelse tasks")


# --- edits -----------------------------------------------------------------------------------------------------------


def edit(project: Path, old: str, new: str) -> None:
    file = project / "sequences/follow_up_1_1_1.yaml"
    assert old in file.read_text()
    file.write_text(file.read_text().replace(old, new, 1))


def manual(project: Path) -> None:
    config = project / "config.yaml"
    config.write_text(config.read_text().replace("apply: automatic", "apply: manual"))


def test_a_plan_says_what_moves_and_apply_moves_it(project: Path, whoelse: Whoelse) -> None:
    manual(project)
    whoelse("enroll", DANA, "follow_up_1_1_1", "-v", f"prospect={BARRY}")
    before = whoelse("status").out
    edit(project, "at: start + 1 day", "at: start + 5 days")
    ran = whoelse("plan")
    assert "sequence follow_up_1_1_1: changed (steps changed day_1)" in ran.out
    assert re.search(rf"{DANA} in follow_up_1_1_1: day_1 is due {DATE} \(was {DATE}\)", ran.out)
    assert whoelse("status").out == before
    assert whoelse("apply").out.endswith("Applied.\n")
    assert whoelse("status").out != before
    assert "Nothing has changed" in whoelse("plan").out


def test_a_valid_edit_is_taken_up_by_itself_and_said(project: Path, whoelse: Whoelse) -> None:
    whoelse("enroll", DANA, "follow_up_1_1_1", "-v", f"prospect={BARRY}")
    edit(project, "at: start + 1 day", "at: start + 5 days")
    ran = whoelse("pause", DANA)
    assert ran.code == 0 and "applied: sequence follow_up_1_1_1: changed" in ran.err


def test_the_story_names_the_version_that_every_email_came_from(
    project: Path, inst: Installation, whoelse: Whoelse
) -> None:
    enrolled(inst)
    sends(inst, MONDAY + timedelta(days=1))
    shown = whoelse("show", DANA, "--full").out
    assert f"[follow_up_1_1_1/day_1, version {inst.library.version}]" in shown
    assert "version" not in whoelse("show", DANA).out


def test_a_faulty_edit_is_refused_and_the_last_good_version_goes_on(project: Path, whoelse: Whoelse) -> None:
    whoelse("enroll", DANA, "follow_up_1_1_1", "-v", f"prospect={BARRY}")
    edit(project, "at: start + 1 day", "at: start + 1 fortnight")
    ran = whoelse("pause", DANA)
    assert ran.code == 0
    assert re.search(r"follow_up_1_1_1\.yaml:\d+:\d+: .*fortnight", ran.err)


# --- classify --------------------------------------------------------------------------------------------------------

YES = f"From: Dana <{DANA}>\r\nTo: {REP}\r\nSubject: Re: x\r\nMessage-ID: <1@acme.example>\r\nIn-Reply-To: <2@x>\r\n\r\nYes, confirmed.\r\n"


def test_classify_works_without_a_config_and_prints_the_documented_shape(
    tmp_path: Path, whoelse: Whoelse, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("b.eml", "a.eml"):
        (tmp_path / name).write_bytes(YES.encode())
    ran = whoelse("classify", "--json", "--rep", REP, "b.eml", "a.eml")
    found = json.loads(ran.out)
    assert [each["file"] for each in found] == ["b.eml", "a.eml"]
    assert set(found[0]) == {"file", "event", "rule", "text", "until", "people", "recipients", "status"}
    assert found[0]["event"] == "confirmed" and found[0]["text"] == "Yes, confirmed."
    assert "confirmed" in whoelse("classify", "a.eml").out


def test_classify_reads_from_the_message_whose_mailbox_it_came_to_or_says_whom_it_took(
    tmp_path: Path, whoelse: Whoelse, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    head = f"From: Ann <ann@client.example>\r\nTo: Owen <owen@other.example>\r\nCc: Sam <{REP}>\r\n"
    words = "\r\nOwen, meet Sam, who did our planning. Over to you two.\r\n"
    (tmp_path / "thread.eml").write_bytes(f"{head}In-Reply-To: <2@{REP.partition('@')[2]}>\r\n{words}".encode())
    (tmp_path / "new.eml").write_bytes(f"{head}{words}".encode())
    found = whoelse("classify", "thread.eml")
    assert "introduced" in found.out and not found.err
    guessed = whoelse("classify", "new.eml")
    assert "read as mail to owen@other.example" in guessed.err and "--rep" in guessed.err
    named = whoelse("classify", "new.eml", "--rep", REP)
    assert "introduced" in named.out and not named.err


def test_a_message_that_cannot_be_read_does_not_hide_the_others(tmp_path: Path, whoelse: Whoelse) -> None:
    (tmp_path / "a.eml").write_bytes(YES.encode())
    ran = whoelse("classify", "--json", str(tmp_path / "none.eml"), str(tmp_path / "a.eml"))
    assert ran.code == 1 and len(json.loads(ran.out)) == 1 and "none.eml" in ran.err


# --- the process -----------------------------------------------------------------------------------------------------

PYTHON = [sys.executable, "-m", "engine"]


def test_help_and_status_load_only_what_they_need(project: Path) -> None:
    """Start-up time, without a clock: what costs it is not imported."""
    code = "import sys; from engine.__main__ import main; main(sys.argv[1:]); print('LOADED', *sys.modules, file=sys.stderr)"
    env = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    for words, forbidden in (
        (["--help"], {"engine.config", "engine.store", "yaml", "sqlite3", "jinja2", "pydantic", "rich", "asyncio"}),
        (
            ["status"],
            {
                "engine.core.render",
                "jinja2",
                "markdown_it",
                "pydantic",
                "rich",
                "asyncio",
                "holidays",
                "email_validator",
            },
        ),
    ):
        ran = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True, env=env, timeout=60)
        loaded = set(ran.stderr.split("LOADED")[1].split())
        assert not loaded & forbidden, words


def test_a_reader_that_has_enough_ends_it_without_a_word(project: Path) -> None:
    env = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    read, write = os.pipe()
    os.close(read)
    ran = subprocess.run([*PYTHON, "schema"], stdout=write, stderr=subprocess.PIPE, text=True, env=env, timeout=60)
    os.close(write)
    assert ran.returncode == 1 and ran.stderr == ""


def test_control_c_is_no_traceback(project: Path, whoelse: Whoelse, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("engine.config.load_config", interrupted)
    ran = whoelse("status")
    assert ran.code == 1 and ran.err.strip() == "Aborted!"


def test_what_is_cleaned_stays_readable() -> None:
    assert clean("Grüße, 你好\tand\nmore") == "Grüße, 你好\tand\nmore"


def test_the_list_of_commands_says_what_each_says_of_itself() -> None:
    """`whoelse --help` has it from a table, so that it reads no command's file."""
    context = click.Context(app)
    for lines in FILES.values():
        for name, said in lines.items():
            command = app.get_command(context, name)
            assert command is not None and command.short_help == said
