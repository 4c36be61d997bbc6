"""What the engine makes of a message, and how right it is on many that somebody has labelled."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from engine.cli.options import config_option, configuration, example, json_option
from engine.cli.output import count, print_json, quoted, remark, say, table

if TYPE_CHECKING:
    from engine.core.classify.report import Confusion
    from engine.core.model import Message, Reading

commands = click.Group()

ANSWER_LINES_MAX = 6
WRONG_MAX = 50
CASES = "mail"


@commands.command(
    "classify",
    short_help="What the engine makes of a message.",
    epilog=example(
        "whoelse classify answer.eml",
        "whoelse classify --json --rep sam@consulting.example mail/*.eml",
        "whoelse classify answer.eml --save polite_no --event declined",
        "whoelse classify --report mail",
    ),
)
@click.argument("files", metavar="FILE...", nargs=-1, type=click.Path(path_type=Path))
@click.option("--rep", metavar="ADDRESS", default="", help="Whose mailbox they came to.")
@click.option(
    "--report",
    metavar="FOLDER",
    type=click.Path(path_type=Path),
    help="Measure it on a folder of labelled messages instead.",
)
@click.option("--save", metavar="NAME", default="", help="Keep the message as a test case in the project's mail/.")
@click.option("--event", default="", help="With --save: what it means; else what the engine makes of it.")
@config_option
@json_option
def classify(
    files: tuple[Path, ...], rep: str, report: Path | None, save: str, event: str, config: Path, as_json: bool
) -> None:
    """What the engine makes of a message, and by which rule. Works without a config: whose mailbox a message came to is then read
    from it (Delivered-To, whose email it answers, the first in To).

    With --report: precision, recall and confusion of every class, on messages that are labelled in the folder's expected.toml or
    sorted into folders named by their event."""
    reps = _reps(rep, config)
    if report:
        _refuse_files(files, save, event)
        sys.exit(_report(report, reps, config, as_json))
    if not files:
        raise click.UsageError("Missing argument 'FILE...'.")
    if (save and len(files) != 1) or (event and not save):
        raise click.BadParameter("keeps one message: name one FILE and --save NAME", param_hint="--save")
    results, missing = [], False
    for file in files:
        try:
            raw = file.read_bytes()
        except OSError as error:
            remark(f"whoelse: {file}: cannot be read: {error.strerror}; name a file with one message")
            missing = True
            continue
        results.append((file, _read(raw, reps, config, file)))
    if as_json:
        print_json([_reading_json(file, reading) for file, reading in results])
    else:
        for file, reading in results:
            _say_reading(file, reading)
    if save and results:
        _save(config, save, files[0], event or str(results[0][1].event))
    sys.exit(1 if missing else 0)


def _save(config: Path, name: str, file: Path, event: str) -> None:
    from engine.cases import save_case

    kept = save_case(configuration(config).folder / CASES, name, file.read_bytes(), event)
    remark(f"Kept as {kept}, which means {event}.")


# --- the report ------------------------------------------------------------------------------------------------------


def _refuse_files(files: tuple[Path, ...], save: str, event: str) -> None:
    if files or save or event:
        raise click.BadParameter("reads a folder; leave the rest out", param_hint="--report")


def _report(folder: Path, reps: frozenset[str], config: Path, as_json: bool) -> int:
    """How right the engine is on a folder; 1 where it was wrong."""
    from engine.cases import read_cases
    from engine.core.classify.report import Row, confusion

    cases = read_cases(folder)
    read = [(case, _read(case.file.read_bytes(), reps, config)) for case in cases]
    found = confusion(Row(str(case.file.relative_to(folder)), case.label, reading, case.also) for case, reading in read)
    if as_json:
        print_json(_report_json(found))
    else:
        _say_report(found, len(cases))
    return 1 if found.wrong else 0


def _report_json(found: Confusion) -> dict[str, Any]:
    return {
        "messages": sum(found.counts.values()),
        "classes": [
            {
                "label": s.label,
                "there": s.there,
                "given": s.given,
                "right": s.right,
                "precision": s.precision,
                "recall": s.recall,
            }
            for s in found.scores
        ],
        "confusion": [{"label": a, "given": b, "count": n} for (a, b), n in sorted(found.counts.items())],
        "wrong": [dict(zip(("file", "label", "given", "rule"), each, strict=True)) for each in found.wrong],
    }


def _say_report(found: Confusion, messages: int) -> None:
    """The matrix has a letter for each column, so that it fits on a terminal."""
    letters = [chr(ord("a") + n) for n in range(len(found.labels))]
    rows: list[Sequence[str]] = [("", *letters, "there", "precision", "recall")]
    for letter, score in zip(letters, found.scores, strict=True):
        cells = [str(found.counts.get((score.label, given), "") or ".") for given in found.labels]
        rows.append(
            (f"{letter} {score.label}", *cells, str(score.there), f"{score.precision:.3f}", f"{score.recall:.3f}")
        )
    say("What was given (columns) for what is there (rows):")
    for line in table(rows, "  "):
        say(line)
    right = messages - len(found.wrong)
    say(f"\n{count(messages, 'message')}, {right} read rightly.")
    for name, label, given, rule in found.wrong[:WRONG_MAX]:
        say(f"  {name}: is {label}, read as {given} ({rule})")
    if len(found.wrong) > WRONG_MAX:
        say(f"  ... and {len(found.wrong) - WRONG_MAX} more (--json lists all)")


# --- reading ---------------------------------------------------------------------------------------------------------


def _reps(rep: str, path: Path) -> frozenset[str]:
    """Whose mailbox: as said, else every mailbox of the config, else (empty) what the message itself says."""
    if rep:
        return frozenset({rep.lower()})
    if not path.is_file():
        return frozenset()
    return frozenset(address for mailbox in configuration(path).mailboxes for address in mailbox.addresses)


def _read(raw: bytes, reps: frozenset[str], path: Path, file: Path | None = None) -> Reading:
    from engine.core.classify import classify
    from engine.core.message import parse
    from engine.core.model import Reader

    message = parse(raw)
    if not reps:
        known = _addressee(message)
        first = next((person.email for person in message.to), "")
        if file and first and not known:
            remark(
                f"whoelse: {file}: read as mail to {first}, the first in To; name another mailbox with --rep ADDRESS"
            )
        reps = frozenset({known or first} - {""})
    return classify(message, Reader(reps, _colleagues(reps, path)))


def _addressee(message: Message) -> str:
    """Whose mailbox a message says that it came to: where it was delivered, or who of those in To and Cc wrote what it answers, by
    the domain of that Message-ID."""
    delivered = [one.strip(" <>").lower() for one in message.headers.get("delivered-to", ())]
    answered = {one.rpartition("@")[2].strip(">").lower() for one in message.in_reply_to}
    wrote = [one.email for one in (*message.to, *message.cc) if one.email.rpartition("@")[2] in answered]
    return next(iter([*delivered, *wrote]), "")


def _colleagues(reps: frozenset[str], path: Path) -> frozenset[str]:
    """The domains of the rep's own company."""
    from engine.core.address import domain_of

    known = configuration(path).company.domains if path.is_file() else ()
    return frozenset(filter(None, (*known, *map(domain_of, reps))))


def _reading_json(file: Path, reading: Reading) -> dict[str, Any]:
    """The documented shape."""
    return {
        "file": str(file),
        "event": str(reading.event),
        "rule": reading.rule,
        "text": reading.text,
        "until": reading.until.isoformat() if reading.until else None,
        "people": [{"name": p.name, "email": p.email, "company": p.company} for p in reading.people],
        "recipients": list(reading.recipients),
        "status": reading.status,
    }


def _say_reading(file: Path, reading: Reading) -> None:
    say(f"{file}: {reading.event} ({reading.rule})")
    people = ", ".join(
        " ".join(filter(None, (p.name, f"<{p.email}>" if p.email else "", p.company))) for p in reading.people
    )
    facts = {
        "back": reading.until.isoformat() if reading.until else "",
        "people": people,
        "failed": ", ".join(reading.recipients),
        "status": reading.status or "",
        "note": reading.note,
    }
    for line in table([(name, text) for name, text in facts.items() if text], "  "):
        say(line)
    for line in quoted(reading.text, "  ", ANSWER_LINES_MAX):
        say(line)
