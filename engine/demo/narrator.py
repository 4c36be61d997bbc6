"""Tells what happens in the terminal, for somebody who has never heard of any of it: what was sent and why, what came back,
what was decided. It reads the store and decides nothing."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from zoneinfo import ZoneInfo

from rich.console import Console
from rich.table import Table
from rich.text import Text

from engine.core.model import Enrollment, Event, InboundMessage, State, Task
from engine.demo.conductor import RepDid
from engine.demo.story import COMPANY, DECIDED, PURPOSE, REP, SEQUENCES, WHY, ZONE, Role, Script
from engine.demo.verdict import Verdict, emails_to, enrollments
from engine.installation import Installation
from engine.origins import branch_lines, tree
from engine.reports import STAGES, funnel, past, speeds
from engine.store import Told

DATE_WIDTH, TIME_WIDTH, WHO_WIDTH = 11, 6, 9
BAR_PER_CLIENT = 6
SENTENCE_END = re.compile(r"(?<=[.?!])\s+")


@dataclass(frozen=True)
class Entry:
    """One thing that happened: who it concerns, what it was, and in a second line what it means."""

    at: datetime
    who: str
    what: str
    note: str = ""
    style: str = ""


class Narrator:
    """`hear` may be called from any thread; everything else belongs to one."""

    def __init__(self, console: Console, script: Script) -> None:
        self._console, self._script = console, script
        self._heard: deque[Told | RepDid] = deque()
        self._tasks: set[str] = set()
        self._day = ""
        self._names = {role.client.email: role.client.first_name for role in script.cast}

    def hear(self, line: Told | RepDid) -> None:
        self._heard.append(line)

    # --- before ------------------------------------------------------------------------------------------------------

    def open(self) -> None:
        say, rep = self._console.print, REP.first_name
        say()
        say(
            "[bold]whoelse demo[/]  seven weeks of asking clients for introductions, in about a minute", highlight=False
        )
        say()
        say(
            f"{REP.name} of {COMPANY} has four clients. whoelse sends emails from {rep}'s mailbox, reads what comes back, "
            "and stops the moment somebody has answered. First it makes sure that a client is happy; only then it asks "
            "“who else do you know?”, and follows up, politely, until the introduction is made.",
            highlight=False,
        )
        say()
        say(
            "All of this is real mail over real connections, to an SMTP and an IMAP server that run inside this demo. "
            "Nothing leaves your machine. Only the clock is special: when nothing is left to do, it jumps to what is due next.",
            highlight=False,
        )
        say()
        cast = Table.grid(padding=(0, 2, 0, 0))
        for role in self._script.cast:
            cast.add_row("", Text(role.client.name, "bold"), role.company, role.about)
        say(cast)
        say()
        say(f"→ an email from whoelse   ← what came back   ! something for {rep} to do by hand", highlight=False)
        say()

    # --- during ------------------------------------------------------------------------------------------------------

    def tell(self, inst: Installation) -> Iterable[None]:
        """Prints what is new, and comes back after each thing, so that it can be read."""
        lines = [self._heard.popleft() for _ in range(len(self._heard))]
        entries = [entry for line in lines if (entry := self._entry(line, inst))]
        entries += [self._task(task) for task in self._new_tasks(inst)]
        for entry in sorted(entries, key=lambda entry: entry.at):
            self._print(entry)
            yield

    def _entry(self, line: Told | RepDid, inst: Installation) -> Entry | None:
        match line:
            case RepDid(at, command, why):
                return Entry(at, REP.first_name, f"$ {command}", why, style="dim")
            case Told(kind="sent"):
                return self._sent(line, inst)
            case Told(kind="heard"):
                row = inst.store.inbound_message(line.message)
                return self._came_back(row, inst) if row else None
        return None

    def _sent(self, line: Told, inst: Installation) -> Entry | None:
        row, enrollment = inst.store.outbox_message(line.message), inst.store.enrollment(line.enrollment)
        if row is None or enrollment is None:
            return None
        step = f"{enrollment.sequence}/{row.step}"
        words = gist(row.text) if row.subject.startswith("Re: ") else row.subject
        note = f"{enrollment.sequence} · {WHY.get(step, row.step)}"
        return Entry(line.at, f"→ {self._name(row.recipient)}", f"“{words}”", note, "cyan")

    def _came_back(self, row: InboundMessage, inst: Installation) -> Entry:
        contact, enrollment = inst.store.contact(row.contact), inst.store.enrollment(row.enrollment)
        who = self._name(contact.email) if contact else row.sender
        outcome = enrollment.outcome if enrollment else ""
        sequence = enrollment.sequence if enrollment else ""
        note = f"{sequence} · {DECIDED.get((sequence, row.event, outcome), row.decision)}"
        return Entry(row.received_at, f"← {who}", said(row, REP.first_name, who), note, "green")

    def _new_tasks(self, inst: Installation) -> Iterable[Task]:
        for task in inst.store.open_tasks():
            if task.id not in self._tasks:
                self._tasks.add(task.id)
                yield task

    def _task(self, task: Task) -> Entry:
        return Entry(task.created_at, f"! {REP.first_name}", f"To do: {task.title}", style="yellow")

    def _name(self, email: str) -> str:
        return self._names.get(email, email)

    def _print(self, entry: Entry) -> None:
        local = entry.at.astimezone(ZoneInfo(ZONE))
        day = f"{local:%a} {local.day} {local:%b}"
        grid = Table.grid()
        for width in (DATE_WIDTH, TIME_WIDTH, WHO_WIDTH):
            grid.add_column(width=width)
        grid.add_column(overflow="fold")
        what = Text(entry.what, "dim" if entry.style == "dim" else "")
        grid.add_row(
            "" if day == self._day else Text(day, "bold"), f"{local:%H:%M}", Text(entry.who, entry.style), what
        )
        if entry.note:
            grid.add_row("", "", "", Text(entry.note, "dim"))
        self._day = day
        self._console.print(grid)

    # --- after -------------------------------------------------------------------------------------------------------

    def close(self, verdict: Verdict, inst: Installation) -> None:
        say = self._console.print
        say()
        say(Text("What became of them", "bold"))
        say(self._stories(verdict, inst))
        say()
        say(Text("The sequences at work", "bold"))
        say(self._sequences(inst))
        say()
        say(Text("What came of it", "bold"))
        say(_funnel(inst))
        say(_speed(inst, self._script.end), highlight=False)
        say(Text("  whoelse report says it by rep, sequence and month, or as a page for the browser", "dim"))
        say()
        say(Text("Who introduced whom", "bold"))
        for line in (line for branch in tree(inst) for line in branch_lines(branch)):
            say(f"  {line}", highlight=False)
        say()
        for rule in verdict.rules:
            say(Text.assemble(_mark(not rule.problems), " ", rule.text))
        for problem in (*sum(verdict.stories.values(), ()), *(p for rule in verdict.rules for p in rule.problems)):
            say(Text(f"  {problem}", "red"))
        say()
        say(self._last_words(verdict, inst), highlight=False)

    def _stories(self, verdict: Verdict, inst: Installation) -> Table:
        table = Table.grid(padding=(0, 1, 0, 0))
        for role in self._script.cast:
            count = len(emails_to(inst, role.client.email))
            told = role.in_short if not verdict.stories[role.client.email] else "did not end as scripted"
            mark = _mark(not verdict.stories[role.client.email])
            table.add_row(mark, role.client.first_name, f"{count} email{'s' * (count != 1)}", told)
        return table

    def _sequences(self, inst: Installation) -> Table:
        table = Table.grid(padding=(0, 2, 0, 0))
        for sequence in SEQUENCES:
            sent = sum(
                e.sequence == sequence for role in self._script.cast for e, _ in emails_to(inst, role.client.email)
            )
            ends = ", ".join(_endings(self._script.cast, sequence, inst))
            table.add_row("", Text(sequence, "cyan"), PURPOSE[sequence])
            table.add_row("", "", Text(f"{sent} email{'s' * (sent != 1)}; {ends}", "dim"))
        return table

    def _last_words(self, verdict: Verdict, inst: Installation) -> str:
        if not verdict.ok:
            return "[red]Not every story ended as scripted.[/]"
        todo = len(inst.store.open_tasks())
        return (
            f"Every story ended as scripted. On {REP.first_name}'s list are {todo} things that are better done by a person.\n"
            "Now yours: [bold]whoelse init[/]"
        )


def _funnel(inst: Installation) -> Table:
    """The clients by how far each of them came, as plain bars."""
    table = Table.grid(padding=(0, 2, 0, 0))
    for total in funnel(past(inst), total=True):
        for stage in STAGES:
            number = total.counts[stage]
            bar = Text("█" * (number * BAR_PER_CLIENT), "green" if stage == "won" else "cyan")
            table.add_row("", stage, str(number), bar)
    return table


def _speed(inst: Installation, now: datetime) -> str:
    """How fast whoever was introduced had an answer."""
    soon = [speed.soon for speed in speeds(inst, now)]
    return (
        f"  answered within 30 minutes of the introduction: {sum(s.count for s in soon)} of {sum(s.of for s in soon)}"
    )


def _mark(good: bool) -> Text:
    return Text("✓", "green") if good else Text("✗", "red")


def _endings(cast: Iterable[Role], sequence: str, inst: Installation) -> Iterable[str]:
    """`Dana: confirmed` for each who was in it."""
    for role in cast:
        for enrollment in enrollments(inst, role.client.email):
            if enrollment.sequence == sequence:
                name, goes_on = role.client.first_name, enrollment.state is not State.STOPPED
                yield f"{name}: {_goes_on(enrollment) if goes_on else enrollment.outcome.replace('_', ' ')}"


def _goes_on(enrollment: Enrollment) -> str:
    at = enrollment.next_at
    return f"goes on {at.day} {at:%B}" if at else "goes on"


def said(row: InboundMessage, rep: str, client: str) -> str:
    """What came back in a line: the words without greeting and name; of what a machine wrote, or an introduction, the subject."""
    if row.event in (Event.BOUNCED, Event.INTRODUCED):
        return f"“{row.subject}”"
    lines = [line.strip() for line in row.text.splitlines() if line.strip()]
    lines = [line for line in lines if line != client and not (line.endswith(f"{rep},") and len(line.split()) <= 3)]
    return f"“{' '.join(lines)}”"


def gist(text: str) -> str:
    """What an email comes down to: its first question, else its first sentence."""
    paragraphs = [" ".join(block.split()) for block in text.split("\n\n")]
    sentences = [one for block in paragraphs[1:] for one in SENTENCE_END.split(block) if one]
    return next((one for one in sentences if one.endswith("?")), sentences[0] if sentences else text)
