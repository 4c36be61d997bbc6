"""What the docs say is tried: every session in README.md and docs/*.md runs in a fresh project and prints what the page shows,
every example of the language is read, every picture and made part is what the program makes of itself, every link leads
somewhere, and every test that is named exists."""

from __future__ import annotations

import importlib
import os
import re
import shlex
import smtplib
import subprocess
import sys
from datetime import UTC, datetime
from email import message_from_bytes
from email.message import EmailMessage, Message
from pathlib import Path
from xml.etree import ElementTree

import click
import pytest
import servers
import yaml
from conftest import REPS
from transcripts import Block, Session, blocks

from engine import config
from engine.__main__ import main
from engine.cli.app import FILES, app
from engine.core import language
from engine.core.machine import MOVES
from engine.core.model import Event, State
from engine.core.sequence import parse_sequence, parse_triggers

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / "docs"))
make = importlib.import_module("make")  # docs/make.py
moves = importlib.import_module("moves").moves  # docs/moves.py

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
MONDAY = datetime(2026, 3, 2, 8, 30, tzinfo=UTC)
SERVER = "with a server"


def name(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def sessions(page: Path, server: bool) -> list[Block]:
    """The sessions to run and the files to write of a page, in their order."""
    found = []
    for block in blocks(page):
        runs = block.language == "console" and block.mark("not run") is None
        if (runs or block.mark("file")) and (block.mark(SERVER) is not None) is server:
            found.append(block)
    return found


def played(session: Session, block: Block) -> None:
    if file := block.mark("file"):
        Path(file).parent.mkdir(parents=True, exist_ok=True)
        Path(file).write_text(block.text, encoding="utf-8")
    else:
        session.play(block)


def fenced(page: Path, language: str) -> list[Block]:
    return [block for block in blocks(page) if block.language == language]


# --- sessions --------------------------------------------------------------------------------------------------------


@pytest.fixture
def on_monday(monkeypatch: pytest.MonkeyPatch) -> None:
    """The clock that the commands hold stands at 09:30 in Berlin on Monday, 2 March 2026."""
    for file in FILES:
        importlib.import_module(f"engine.cli.{file}")
    for module in [m for n, m in sys.modules.items() if n.startswith("engine.cli.") and hasattr(m, "now")]:
        monkeypatch.setattr(module, "now", lambda: MONDAY)
    for variable in [v for v in os.environ if v.startswith("WHOELSE_")]:
        monkeypatch.delenv(variable)


@pytest.mark.parametrize("page", [page for page in PAGES if sessions(page, server=False)], ids=name)
@pytest.mark.usefixtures("on_monday")
def test_every_session_prints_what_the_page_shows(
    page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def run(typed: str) -> tuple[int, str]:
        words = shlex.split(typed.replace("\\\n", " "))
        if words[0] == "cd":
            monkeypatch.chdir(words[1])
            return 0, ""
        code = main(words[1:]) if words[0] == "whoelse" else subprocess.run(["bash", "-c", typed]).returncode
        said = capfd.readouterr()
        return code, (said.out + said.err).replace(f"{tmp_path}/", "/home/sam/")

    monkeypatch.chdir(tmp_path)
    if page.parent != ROOT:  # the README begins with nothing, the other pages in a project
        assert run("whoelse init .")[0] == 0
    session = Session(run)
    for block in sessions(page, server=False):
        played(session, block)


class Outside:
    """Real servers around a project, and the clients who read and answer. Their addresses in the docs stand for real ones."""

    def __init__(self, folder: Path, dovecot: servers.Dovecot, postfix: servers.Postfix) -> None:
        self.folder, self.dovecot, self.postfix = folder, dovecot, postfix
        self.addresses = {
            "sam@consulting.example": REPS.pop(),
            "dana@acme.example": "dana40@acme.test",
            "lee@harbour.example": "dana39@acme.test",
            "barry@northwind.example": "barry40@prospect.test",
        }
        self.environ = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "TZ": "UTC"}

    def run(self, typed: str) -> tuple[int, str]:
        done = subprocess.run(
            ["bash", "-c", f"{self.real(typed)} 2>&1; code=$?; echo; pwd; env -0 >.env-now; exit $code"],
            capture_output=True, text=True, cwd=self.folder, env=self.environ, timeout=120,
        )  # fmt: skip
        said, _, folder = done.stdout.rstrip("\n").rpartition("\n")
        self._go_on_in(Path(folder))
        return done.returncode, self.shown(said)

    def _go_on_in(self, folder: Path) -> None:
        """What `cd` and `export` did counts for the next command."""
        self.folder, kept = folder, folder / ".env-now"
        self.environ = dict(item.split("=", 1) for item in kept.read_text().split("\0") if "=" in item)
        kept.unlink()

    def real(self, text: str) -> str:
        for shown, real in self.addresses.items():
            text = text.replace(shown, real)
        return text

    def shown(self, text: str) -> str:
        text = text.replace(f"localhost:{self.postfix.submission_port}", "smtp.consulting.example:587")
        for shown, real in self.addresses.items():
            text = text.replace(real, shown)
        return text

    def point_config(self) -> None:
        """The two lines of servers that the reader changes, and no waiting: for evenings, holidays or the next email."""
        file = self.folder / "config.yaml"
        text = self.real(file.read_text())
        for pattern, line in (
            (r"smtp: \{.*\}", f"smtp: {{host: localhost, port: {self.postfix.submission_port}, security: starttls}}"),
            (r"imap: \{.*\}", f"imap: {{host: localhost, port: {self.dovecot.imaps_port}, security: tls}}"),
            (r"# cafile: \S+", f"cafile: {self.dovecot.cafile}"),
            (r"gap: [^#\n]*", "gap: 0-0 seconds "),
            (r"business_hours: \{.*\}", "business_hours: always"),
            (r"holidays: true", "holidays: false"),
            (r"company_cap: 1 day", "company_cap: 0 days"),  # behind these addresses everybody is at one company
        ):
            text, changed = re.subn(pattern, line, text)
            assert changed == 1, pattern
        file.write_text(text)
        self.environ["WHOELSE_PASSWORD"] = self.dovecot.users[self.addresses["sam@consulting.example"]]

    def answers(self, who: str, text: str) -> None:
        """A client answers the last email they got, as mail programs do."""
        sender = self.addresses[who]
        last: Message = message_from_bytes(self.dovecot.messages(sender)[-1])
        answer = EmailMessage()
        answer["From"], answer["To"], answer["Subject"] = (
            sender,
            self.addresses["sam@consulting.example"],
            last["Subject"],
        )
        answer["Message-ID"] = f"<{abs(hash(text))}.{os.getpid()}@acme.test>"
        answer["Date"], answer["In-Reply-To"] = datetime.now(UTC), last["Message-ID"]
        answer["References"] = f"{last['References'] or ''} {last['Message-ID']}".strip()
        answer.set_content(f"{text}\n")
        with smtplib.SMTP("127.0.0.1", self.postfix.smtp_port) as smtp:
            smtp.send_message(answer)


@pytest.mark.real
@pytest.mark.parametrize("page", [page for page in PAGES if sessions(page, server=True)], ids=name)
def test_every_session_with_a_server_runs_against_real_ones(
    page: Path, tmp_path: Path, dovecot: servers.Dovecot, postfix: servers.Postfix
) -> None:
    outside = Outside(tmp_path, dovecot, postfix)
    assert outside.run("whoelse init .")[0] == 0
    outside.point_config()
    session = Session(outside.run, loose=True)
    for block in sessions(page, server=True):
        for mark in block.marks:
            if found := re.fullmatch(r"(\S+@\S+) answers: (.+)", mark):
                outside.answers(found[1], found[2])
        played(session, block)


def test_every_command_that_is_shown_is_run_or_says_why_not() -> None:
    untold = [b.where for page in PAGES for b in [*fenced(page, "sh"), *fenced(page, "bash")] if not b.mark("not run")]
    assert not untold


# --- the language ----------------------------------------------------------------------------------------------------

SKELETON = {"name": "Example", "kind": "touch", "to": "client"}
#: What examples speak of and do not declare.
NEEDS = {"review_call": "datetime", "prospect": "optional person"}
STEPS = [{"id": name, "aside": True, "email": "t"} for name in ("anyone_else", "question")]


def as_sequence(example: object) -> dict[str, object]:
    """A sequence around a part of one: steps, needs, handlers or scenarios."""
    part = {"steps": example} if isinstance(example, list) else dict(example)  # type: ignore[call-overload]
    known = {step["id"] for step in part.get("steps", ())}
    return {
        **SKELETON,
        **part,
        "needs": part.get("needs", NEEDS),
        "steps": [*part.get("steps", ()), *(step for step in STEPS if step["id"] not in known)],
    }


@pytest.mark.parametrize("block", fenced(ROOT / "docs/sequences.md", "yaml"), ids=lambda block: block.where)
def test_every_example_of_the_language_is_read_without_a_problem(block: Block) -> None:
    example = yaml.safe_load(block.text)
    if block.mark("file"):
        _, problems = parse_sequence(block.mark("file") or "", block.text)
    elif isinstance(example, list) and "id" not in example[0]:
        triggers, problems = parse_triggers("sequences/triggers.yaml", block.text)
        assert len(triggers) == len(example)
    else:
        text = yaml.safe_dump(as_sequence(yaml.load(block.text, yaml.BaseLoader)), sort_keys=False)
        _, problems = parse_sequence("sequences/example.yaml", re.sub(r"'(true|false)'", r"\1", text))
    assert [str(problem) for problem in problems] == []


def test_the_page_tells_every_event_and_every_name_that_templates_know() -> None:
    page = (ROOT / "docs/sequences.md").read_text()
    told = re.findall(r"^\| `(\w+)` \| .* \| .* \|$", page.partition("| event | when |")[2].partition("\n\n")[0], re.M)
    assert told == [e for e in told if e in [*language.HANDLED, *language.UNHEARD]] and set(told) == set(Event)
    assert [name for name in language.CONTEXT if f"`{name}`" not in page] == []
    assert [kind for kind in language.NEED_TYPES if f"`{kind}`" not in page] == []
    assert [kind for kind in language.THREADS if f"`{kind}`" not in page] == []


@pytest.mark.parametrize("block", fenced(ROOT / "docs/config.md", "yaml"), ids=lambda block: block.where)
def test_every_example_of_the_config_is_yaml_with_known_keys(block: Block) -> None:
    keys = set(re.findall(r"^(?:  (?:- )?)?([a-z_]+):", block.text, re.M))
    known = {*config.KEYS, *config.COMPANY_KEYS, *config.MAILBOX_KEYS, *config.ALERT_KEYS}
    own = {"business_hours", "short_fridays", "anytime"}
    assert keys <= known | own


# --- what is made ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("path", "content"), make.made().items(), ids=lambda item: getattr(item, "name", ""))
def test_what_is_made_is_current(path: Path, content: str) -> None:
    assert path.is_file() and path.read_text(encoding="utf-8") == content, f"{name(path)} is not current: make docs"


PICTURES = sorted((ROOT / "docs").rglob("*.svg"))


@pytest.mark.parametrize("picture", PICTURES, ids=name)
def test_every_picture_is_whole_and_asks_nobody_for_anything(picture: Path) -> None:
    text = picture.read_text(encoding="utf-8")
    assert ElementTree.fromstring(text).tag == "{http://www.w3.org/2000/svg}svg"
    assert not re.search(r"<script|<image|<foreignObject|@import|@font-face|(?:href|src)=|url\((?!#)", text)
    assert not re.search(r"https?://", text.replace("http://www.w3.org/2000/svg", ""))


def test_the_states_are_drawn_as_the_machine_moves() -> None:
    found = moves()
    assert {(a, b) for a, b in found if b not in MOVES[a]} == set()
    missing = {(a, b) for a in MOVES for b in MOVES[a] if a is not b} - found.keys()
    assert missing <= {(State.PAUSED, State.HELD)}, "the table allows what nothing brings about"


# --- what pages speak of ---------------------------------------------------------------------------------------------


def anchors(page: Path) -> set[str]:
    """The anchors that a page's headings become, as GitHub makes them."""
    heads = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.M)
    return {re.sub(r"[^\w -]", "", head.lower()).replace(" ", "-") for head in heads}


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_every_link_leads_somewhere(page: Path) -> None:
    text = re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.M | re.S)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if target.startswith(("http:", "https:", "mailto:")):
            continue
        path, _, anchor = target.partition("#")
        there = (page.parent / path).resolve() if path else page
        assert there.exists(), f"{name(page)} leads to {target}, which is not there"
        assert not anchor or anchor in anchors(there), f"{name(page)} leads to {target}, and there is no such heading"


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_every_command_and_option_that_is_spoken_of_exists(page: Path) -> None:
    context = click.Context(app)
    for line in re.findall(r"(?:`|^\$ )whoelse ([a-z][^`\n]*)", page.read_text(encoding="utf-8"), re.M):
        word, *rest = line.split()
        command = app.get_command(context, word)
        assert command is not None, f"{name(page)}: there is no command `whoelse {word}`"
        subs = command.commands.values() if isinstance(command, click.Group) else ()
        known = {option for c in (command, *subs) for p in c.params for option in p.opts} | {"--help"}
        assert [w for w in rest if w.startswith("--") and w.strip(",.;:)") not in known] == [], f"{name(page)}: {line}"


def test_every_test_that_is_named_exists() -> None:
    page = (ROOT / "docs/promise.md").read_text(encoding="utf-8")
    named = re.findall(r"`(test_\w+)::(test_\w+)`", page)
    lost = [f"{file}::{test}" for file, test in named if f"def {test}(" not in (ROOT / f"tests/{file}.py").read_text()]
    assert lost == []
    assert len(named) > 50
    rows = re.findall(r"^\| (.+) \|$", page, re.M)
    assert [row for row in rows if "::" not in row and "shown by" not in row and "---" not in row] == []


def test_every_message_that_is_explained_is_one_that_is_said() -> None:
    """What stands in the first column comes from the program: as a text of its own or a part of one."""
    page = (ROOT / "docs/troubleshooting.md").read_text(encoding="utf-8")
    said = "".join(file.read_text(encoding="utf-8") for file in (ROOT / "engine").rglob("*.py"))
    said = re.sub(r'"\s*f?"', "", said.replace("_", " "))
    explained = [part for row in re.findall(r"^\| (`.+?) \| ", page, re.M) for part in re.findall(r"`([^`]+)`", row)]
    assert [part for part in explained if part.replace("_", " ") not in said] == []
    assert len(explained) > 30


def test_the_example_unit_runs_what_is_there() -> None:
    """The systemd unit names a command, and options that systemd knows."""
    (unit,) = fenced(ROOT / "docs/running.md", "ini")
    assert "whoelse run" in unit.text
    assert all(re.fullmatch(r"#.*|\[\w+\]|\w+=.+|", line) for line in unit.text.split("\n"))
