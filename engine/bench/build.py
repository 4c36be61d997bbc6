"""Making an email's bytes, against filling in its words alone. What is built is read back by Python's parser and says what was
meant: every template that ships in every language, for names and subjects in many scripts."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default
from typing import Any

from engine.bench import project
from engine.bench.harness import Ground, Row, compare, seconds
from engine.core import compose
from engine.core.compose import Letter
from engine.core.model import Enrollment, Person
from engine.core.render import Rendered
from engine.enrollments import enroll
from engine.installation import Installation
from engine.letters import scene, template_of, tongue
from engine.simulate import sample_wish

NAMES = (
    "Dana Whitfield", "Jürgen Groß", "Žofie Šťastná", "Ελένη Παπαδοπούλου", "Ольга Ковальчук", "דנה לוי", "ليلى حداد",
    "अनिता शर्मा", "王小明", "山田 太郎", "김민준", 'Ann "Annie" O\'Neil, Jr.', "🙂 Smile", "Long " * 30 + "Name",
)  # fmt: skip
SUBJECTS = (
    "An introduction", "Für Sie: eine Vorstellung", "Сюда", "ご紹介のお願い", "مقدمة", "one and " * 20 + "on", "=?utf-8?q?no?=",
)  # fmt: skip
AT = datetime(2026, 3, 2, 9, 30, tzinfo=UTC)
OPTIONAL: dict[str, Any] = {
    "text": "https://bench.example/it", "number": 10, "list": ["one", "two"], "date": "2026-03-20", "datetime": "2026-03-20 10:00",
    "person": {"name": "Barry Jones", "email": "barry@prospect.example", "company": "Prospect Ltd"},
}  # fmt: skip
#: What fills one template: its name, the values, language and zone.
Filling = tuple[str, dict[str, Any], str, str]


def measure(ground: Ground) -> Iterator[Row]:
    config = project.make(ground.fresh("build"), project.UNUSED_PORT)
    inst = project.opened(config, ground)
    templates = inst.library.templates
    fillings = list(fillings_of(inst))
    subjects = itertools.cycle(SUBJECTS)
    for filling in fillings[:: ground.pick(20, 1)]:
        words = templates.render(*filling)
        for name in NAMES:
            check(letter(words, name, next(subjects)))
    note = f"{len(fillings)} emails that ship, each read back with {len(NAMES)} names and {len(SUBJECTS)} subjects in many scripts"
    turns = ground.pick(1, 40)

    def build() -> None:
        for filling in fillings:
            compose.compose(letter(templates.render(*filling), NAMES[0], SUBJECTS[0]))

    def render() -> None:
        for filling in fillings:
            templates.render(*filling)

    def each(work: Any) -> float:
        return 1000 * seconds(work, turns, time.process_time) / len(fillings)

    yield compare("build", "<=", 4.0, lambda: each(build), lambda: each(render), "ms", pairs=ground.pairs, note=note)


def fillings_of(inst: Installation) -> Iterator[Filling]:
    """Every email of every sequence, in every language in which it is there."""
    for language, (key, sequence) in itertools.product(("en", "de"), sorted(inst.library.sequences.items())):
        wish = sample_wish(inst, key, AT)
        optional = {name: OPTIONAL[need.type] for name, need in sequence.needs.items() if need.optional}
        address = f"dana@{key.replace('_', '-')}-{language}.example"
        entered = enroll(
            inst,
            replace(
                wish, email=address, values={**optional, **wish.values}, contact={**wish.contact, "language": language}
            ),
            AT,
        )
        assert isinstance(entered, Enrollment), entered
        for step in sequence.steps:
            if step.email or step.variants:
                values = dict(scene(inst, replace(entered, step=step.id), AT))
                yield (template_of(step, entered.contact), values, *tongue(inst, entered))


def letter(words: Rendered, name: str, subject: str) -> Letter:
    return Letter(
        sender=Person("Sam Carter", "sam@bench.example"), recipient=Person(name, "dana@client.example"), subject=subject,
        text=words.text, html=words.html, message_id="<one.two@bench.example>", date=AT,
        references=("<first@bench.example>",), unsubscribe="mailto:sam@bench.example?subject=unsubscribe",
    )  # fmt: skip


def check(written: Letter) -> None:
    """Read back, it is the same letter."""
    read = message_from_bytes(compose.compose(written), policy=default)
    assert isinstance(read, EmailMessage)
    parts = {
        part.get_content_type(): part.get_content().replace("\r\n", "\n")
        for part in read.walk()
        if not part.is_multipart()
    }
    assert parts == {"text/plain": written.text, "text/html": written.html}
    assert read["Subject"] == written.subject
    (recipient,) = read["To"].addresses
    # Python's parser keeps the folds between encoded words of a name (RFC 2047 §6.2 does not).
    assert " ".join(recipient.display_name.split()) == written.recipient.name
    assert recipient.addr_spec == written.recipient.email
    assert (read["Message-ID"], read["References"]) == (written.message_id, written.references[0])
